"""What can go wrong with an embedded server. The message names the value, the rule and the mend."""

from __future__ import annotations

from domain.mendable import Mendable


class EmbeddedError(Mendable, RuntimeError):
    """An embedded server cannot run here as things stand."""


class HeldError(EmbeddedError):
    """Another living process already holds what was asked for."""
