"""What a fold takes in, and what it asks about the log's time.

Apart from the arrays of a rebuild, whose library takes long to load.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class ShardRow(NamedTuple):
    """One row as a shard takes it in."""

    position: int
    recorded_at: int
    kind: int
    state: bytes


class LogTime(Protocol):
    """What a fold asks about the log's time."""

    def first_at(self, time: int) -> int:
        """The first position at or after a log time, of rows that move it."""
        ...

    def before(self, position: int) -> int:
        """The log time of the last row before a position; 0 where there is none."""
        ...
