"""What an examination has found of one promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: Told which promise is being examined, how far that is, and of how much.
Progress = Callable[[str, int, int], None]


class Finding(NamedTuple):
    """One promise: a short `name` for it, what was `examined`, and the first thing that is `wrong`; empty where it
    holds."""

    name: str
    promise: str
    examined: str
    wrong: str = ""

    @property
    def holds(self) -> bool:
        return not self.wrong
