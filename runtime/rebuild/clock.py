"""The log's time: which position a time was reached at, and which time a position had."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Clock:
    """`times` are distinct log times in order (microseconds), `positions` the first row of each."""

    def __init__(self, times: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        self._times = times
        self._positions = positions

    def and_then(self, later: Sequence[tuple[int, int]]) -> Clock:
        """This time, and what follows it: log times, each with its first position."""
        last = int(self._times[-1]) if len(self._times) else 0
        pairs = np.array([pair for pair in later if pair[0] > last], dtype=np.int64).reshape(-1, 2)
        return Clock(
            np.concatenate((self._times, pairs[:, 0])), np.concatenate((self._positions, pairs[:, 1]))
        )

    def first_at(self, time: int) -> int:
        """The first position at or after a log time."""
        return int(self._positions[self._times.searchsorted(time)])

    def before(self, position: int) -> int:
        """The log time of the last row before a position; 0 where there is none."""
        index = int(self._positions.searchsorted(position))
        return int(self._times[index - 1]) if index else 0
