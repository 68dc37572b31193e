"""A file's stream as blocks of rows, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from feeds.blocks import BLOCK_BYTES, BLOCK_ROWS, Block
from feeds.csv_table import read_csv
from feeds.parquet import read_parquet
from feeds.rows import FileError, Rejected, Rows, read_ndjson


def read_blocks(kind: str, stream: BinaryIO, delimiter: str = ",") -> Iterator[Block]:
    """The blocks of a stream of this kind: `csv`, `ndjson`, or `parquet`, which has to be seekable.

    Raises `FileError`.
    """
    match kind:
        case "csv":
            return read_csv(stream, delimiter)
        case "ndjson":
            return _of_rows(read_ndjson(stream))
        case "parquet":
            return read_parquet(stream)
        case _:
            raise FileError(f"'{kind}' is no kind of file; csv, ndjson and parquet are")


def _of_rows(rows: Rows) -> Iterator[Block]:
    numbers: list[int] = []
    taken: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    size = 0
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
            size += len(row.row or "")
        else:
            numbers.append(row.number)
            taken.append(row.values)
            size += row.size
        if len(taken) + len(rejected) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield Block(numbers, taken, rejected)
            numbers, taken, rejected, size = [], [], [], 0
    if taken or rejected:
        yield Block(numbers, taken, rejected)
