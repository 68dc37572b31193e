"""What the store may answer instead of a yes. The caller may hand in the same again."""

from __future__ import annotations

from domain.mendable import Mendable


class TryAgainError(Exception):
    """Nothing is wrong with what was asked; it has a chance after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Overloaded(TryAgainError):
    """More is waiting than may wait."""


class StoreUnavailable(TryAgainError):
    """The store did not commit, or did not say whether it did."""


class SettingsError(Mendable, ValueError):
    """A variable of the environment cannot be used as it is."""


class TooMuchPastError(Mendable):
    """Of this person, and whom their identifiers lead to, there are more records than are folded for an answer."""


class TraceError(Mendable, LookupError):
    """What was given leads to no person's row. The message says what to give instead."""


class LoopError(Mendable, LookupError):
    """There is no such loop, or nothing that its lift could be measured by. The message says what to name instead."""


class UnmergeError(Mendable, ValueError):
    """Nobody can be unmerged by what was said, or nobody is there to do it. The message names the mend."""
