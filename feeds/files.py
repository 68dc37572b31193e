"""A file's stream as blocks of rows, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from feeds.blocks import BLOCK_BYTES, BLOCK_ROWS, Block
from feeds.parquet import read_parquet
from feeds.rows import FileError, Rejected, Row, read_csv, read_ndjson


def read_blocks(kind: str, stream: BinaryIO, delimiter: str = ",") -> Iterator[Block]:
    """The blocks of a stream of this kind: `csv`, `ndjson`, or `parquet`, which has to be seekable.

    Raises `FileError`.
    """
    match kind:
        case "csv":
            return _of_rows(read_csv(stream, delimiter), named=True)
        case "ndjson":
            return _of_rows(read_ndjson(stream), named=False)
        case "parquet":
            return read_parquet(stream)
        case _:
            raise FileError(f"'{kind}' is no kind of file; csv, ndjson and parquet are")


def _of_rows(rows: Iterable[Row | Rejected], named: bool) -> Iterator[Block]:
    numbers: list[int] = []
    taken: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    size = 0
    for row in rows:
        if isinstance(row, Row):
            numbers.append(row.number)
            taken.append(row.values)
            size += row.size
        else:
            rejected.append(row)
            size += _size(row)
        if len(taken) + len(rejected) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield Block(numbers, taken, rejected, list(taken[0]) if named and taken else None)
            numbers, taken, rejected, size = [], [], [], 0
    if taken or rejected:
        yield Block(numbers, taken, rejected, list(taken[0]) if named and taken else None)


def _size(rejected: Rejected) -> int:
    """About how much memory what is shown of it takes."""
    shown = rejected.row
    return sum(map(len, shown)) if isinstance(shown, list) else len(shown or "")
