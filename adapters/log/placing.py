"""Rows that are encoded before it is known where in the log they will stand, and when that will be.

Whoever seals ahead also encodes. Under the head's lock, what is left to do of a row is to fill in two numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from adapters.log.columns import encode_rows, encode_stream_rows, placed_streams
from adapters.log.wire import POSITION_AT, TIME_BEFORE_STATE, decode_row
from domain.records import Entry

#: Rows that are encoded at once, so that what they are made of does not stand beside all of them.
_PART: Final = 1_000
_EIGHT: Final = np.arange(8)
_Bytes = npt.NDArray[np.uint8]


class Unplaced(NamedTuple):
    """Tuples of `log` and of `log_stream`, as `adapters.log.wire` has them, at positions from 0 on. `ends` says where
    in `log` each row ends, `times` where its time is."""

    log: _Bytes
    ends: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    streams: bytes

    @classmethod
    def of(cls, entries: Sequence[Entry], states: Iterable[bytes]) -> Unplaced:
        """These entries, with their states as they will be stored."""
        log, given = bytearray(), iter(states)
        row_sizes: list[int] = []
        state_sizes: list[int] = []
        for at in range(0, len(entries), _PART):
            part = entries[at : at + _PART]
            stored = list(islice(given, len(part)))
            rows = encode_rows(at, 0, part, stored)
            log += b"".join(rows)
            row_sizes += map(len, rows)
            state_sizes += map(len, stored)
        ends = np.cumsum(row_sizes, dtype=np.int64)
        times = ends - np.array(state_sizes, np.int64) - TIME_BEFORE_STATE
        return cls(np.frombuffer(log, np.uint8), ends, times, encode_stream_rows(0, entries))

    @property
    def size(self) -> int:
        """How many rows."""
        return len(self.ends)

    def entries(self, step: int = 1) -> Iterator[Entry]:
        """The entries again, or one in so many, with their states as they will be stored."""
        for begin, end in islice(pairwise([0, *self.ends.tolist()]), 0, None, step):
            row = decode_row(self.log[begin:end].tobytes())
            yield Entry(row.stream_id, row.version, row.topic, row.subject, row.state)

    def placed(self, first: int, recorded_at: int) -> tuple[memoryview, bytes]:
        """The tuples of `log` and of `log_stream` at positions from `first` on, recorded at that time. They are filled
        in where they are."""
        begins = np.concatenate(([0], self.ends))[:-1]
        self.log[(begins + POSITION_AT)[:, None] + _EIGHT] = _big_endian(np.arange(first, first + self.size))
        self.log[self.times[:, None] + _EIGHT] = _big_endian(np.array([recorded_at]))
        return self.log.data, placed_streams(self.streams, first)


def _big_endian(numbers: npt.NDArray[np.int64]) -> _Bytes:
    return numbers.astype(">i8").view(np.uint8).reshape(-1, 8)
