"""What stops a rebuild, in words that say how to mend it."""

from __future__ import annotations

from domain.mendable import Mendable


class RebuildError(Mendable):
    """A rebuild cannot be done as it was asked for. Nothing has changed by it."""


class ErasedMeanwhileError(RebuildError):
    """Somebody was erased since the rebuild began, so what it has folded may hold that person's data."""
