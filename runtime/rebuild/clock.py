"""The log's time: which position a time was reached at, and which time a position had."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Clock:
    """`times` are distinct log times in order (microseconds), `positions` the first row of each."""

    def __init__(self, times: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        self._times = times
        self._positions = positions

    def first_at(self, time: int) -> int:
        """The first position at or after a log time."""
        return int(self._positions[self._times.searchsorted(time)])

    def before(self, position: int) -> int:
        """The log time of the last row before a position; 0 where there is none."""
        index = int(self._positions.searchsorted(position))
        return int(self._times[index - 1]) if index else 0
