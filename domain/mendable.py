"""What whoever runs the platform can mend."""

from __future__ import annotations


class Mendable(Exception):
    """Something that its reader can mend: the text says what was wrong, with which value, and what would be right.
    The command line prints it in one line and exits with 2."""
