"""The archive's Parquet files: written and read a group of rows at a time, so memory is bounded by that."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from threading import Lock
from typing import Any, Final
from uuid import uuid4

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError as StoreError

from adapters.lake.columns import COLUMNS, rows_of, table_of
from adapters.lake.errors import DamagedError, LakeError
from adapters.lake.place import store_of
from adapters.lake.table import Part, folder_of, known_parts, parts_of
from domain.records import Row

#: A group ends with whichever comes first: so many rows, or so many bytes of state.
GROUP_ROWS: Final = 10_000
GROUP_BYTES: Final = 16 * 1024 * 1024
#: Groups in one file.
FILE_GROUPS: Final = 100

#: Files that are open for whoever reads on are read by one thread at a time.
_lock: Final = Lock()
_position: Final = attrgetter("position")


class _Sink:
    """What pyarrow asks of a file, over a writer of the store."""

    closed = False

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def write(self, data: Any) -> int:
        self._writer.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """The store's writer does, when it is closed."""

    def close(self) -> None:
        self.closed = True


class _Source:
    """The same over a reader of the store."""

    closed = False

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.seek, self.tell = reader.seek, reader.tell

    def read(self, size: int = -1) -> bytes:
        return bytes(self._reader.read() if size < 0 else self._reader.read(size))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def write_partition(url: str, partition: int, rows: Iterable[Row]) -> Iterator[Part]:
    """Writes rows into files of a partition; tells each file when it is whole. Raises `LakeError`."""
    groups = _groups(rows)
    group = next(groups, None)
    while group is not None:
        path = f"{folder_of(partition)}/{group[0].position:019d}-{uuid4()}.zstd.parquet"
        first = last = group[0].position
        with _writing(url, path) as writer:
            for _ in range(FILE_GROUPS):
                writer.write_table(table_of(group), row_group_size=len(group))
                last = group[-1].position
                group = next(groups, None)
                if group is None:
                    break
        yield Part(path, first, last)


@contextmanager
def _writing(url: str, path: str) -> Iterator[pq.ParquetWriter]:
    try:
        with (
            obstore.open_writer(store_of(url), path) as out,
            pq.ParquetWriter(
                _Sink(out), COLUMNS, compression="zstd", use_dictionary=["topic"], write_page_checksum=True
            ) as writer,
        ):
            yield writer
    except (StoreError, OSError) as error:
        raise LakeError(f"{url}/{path}: cannot be written ({error})") from error


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.state)
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def stream(url: str, partition: int, first: int, last: int) -> Iterator[list[Row]]:
    """A partition's rows from position `first` to `last` as the files hold them this moment, group by group.

    Raises `LakeError`; `DamagedError` where a file or a part of one cannot be read.
    """
    parts = [part for part in parts_of(url, partition) if part.last >= first and part.first <= last]
    for part in parts:
        file = _open(url, part)
        for group in _groups_of(file, first, last):
            rows = _read(url, part, file, group)
            yield (
                rows
                if first <= rows[0].position and rows[-1].position <= last
                else _within(rows, first, last)
            )


def page(url: str, partition: int, first: int, last: int, limit: int) -> list[Row]:
    """At most `limit` of a partition's rows from position `first` to `last`. What is read is remembered for
    a while, as whoever reads on will ask for the next rows of the same group. Raises `LakeError`."""
    found: list[Row] = []
    with _lock:
        for part in known_parts(url, partition):
            if part.last < first or part.first > last:
                continue
            for group in _groups_of(_known_file(url, part), first, last):
                rows = _known_rows(url, part, group)
                begin, end = bisect_left(rows, first, key=_position), bisect_right(rows, last, key=_position)
                found += rows[begin : min(end, begin + limit - len(found))]
                if len(found) == limit:
                    return found
    return found


def _within(rows: Sequence[Row], first: int, last: int) -> list[Row]:
    return [row for row in rows if first <= row.position <= last]


def _groups_of(file: pq.ParquetFile, first: int, last: int) -> list[int]:
    """The groups that may hold these positions, by what the file's own end says of each."""
    found = []
    for group in range(file.num_row_groups):
        held = file.metadata.row_group(group).column(0).statistics
        if held is None or (held.max >= first and held.min <= last):
            found.append(group)
    return found


def _open(url: str, part: Part) -> pq.ParquetFile:
    try:
        file = obstore.open_reader(store_of(url), part.path)
        return pq.ParquetFile(_Source(file), page_checksum_verification=True)
    except (StoreError, OSError, pa.ArrowException) as error:
        raise DamagedError(part.first, part.last, f"{url}/{part.path}: {error}") from error


def _read(url: str, part: Part, file: pq.ParquetFile, group: int) -> list[Row]:
    try:
        return rows_of(file.read_row_group(group, columns=COLUMNS.names, use_threads=False))
    except (StoreError, OSError, pa.ArrowException, UnicodeDecodeError) as error:
        held = file.metadata.row_group(group).column(0).statistics
        first, last = (held.min, held.max) if held is not None else part[1:]
        raise DamagedError(first, last, f"{url}/{part.path}: {error}") from error


@lru_cache(maxsize=4)
def _known_file(url: str, part: Part) -> pq.ParquetFile:
    return _open(url, part)


@lru_cache(maxsize=4)
def _known_rows(url: str, part: Part, group: int) -> tuple[Row, ...]:
    return tuple(_read(url, part, _known_file(url, part), group))
