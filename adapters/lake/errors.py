"""What can be wrong with the lake."""

from __future__ import annotations

from domain.mendable import Mendable


class LakeError(Mendable):
    """The lake cannot be reached, or does not hold what was written to it; the message names the file."""


class DamagedError(LakeError):
    """Rows that were written to the lake are not to be had: those from position `first` to `last`."""

    def __init__(self, first: int, last: int, reason: str) -> None:
        super().__init__(f"the archived rows at positions {first} to {last} cannot be read: {reason}")
        self.first = first
        self.last = last
