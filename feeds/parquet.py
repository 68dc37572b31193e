"""Parquet as blocks of columns: Arrow's own columns, with times as the text that a record keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow
import pyarrow.compute as compute
import pyarrow.parquet

from feeds.arrow_times import text_of
from feeds.blocks import BLOCK_BYTES, BLOCK_ROWS, Block
from feeds.rows import COLUMNS_LIMIT, FileError

_types = pyarrow.types


def read_parquet(stream: BinaryIO) -> Iterator[Block]:
    """Every row of a Parquet file, numbered from 1. Raises `FileError`."""
    try:
        file = pyarrow.parquet.ParquetFile(stream)
        names = file.schema_arrow.names
        if len(names) > COLUMNS_LIMIT:
            raise FileError(f"a file has at most {COLUMNS_LIMIT} columns, this one has {len(names)}")
        if len(set(names)) < len(names):
            raise FileError("each column has a name of its own")
        number = 1
        for batch in file.iter_batches(BLOCK_ROWS):
            for part in _parts(batch):
                yield block_of(number, part)
                number += part.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise FileError(f"not Parquet as it should be: {type(error).__name__}") from error


def block_of(first: int, batch: Any) -> Block:
    """A record batch of Arrow's, its rows numbered from `first` on. Raises `FileError`."""
    columns = {name: _cells(name, batch[name]) for name in batch.schema.names}
    return Block.of_columns(range(first, first + batch.num_rows), columns)


def _parts(batch: Any) -> Iterator[Any]:
    """Slices of a batch that are no larger than a block may be."""
    rows = max(1, batch.num_rows * BLOCK_BYTES // max(batch.nbytes, BLOCK_BYTES))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _cells(name: str, column: Any) -> list[Any]:
    kind = column.type
    found: list[Any]
    try:
        if _types.is_timestamp(kind):
            found = text_of(column)
        elif _types.is_date(kind) or _types.is_time(kind):
            found = compute.cast(column, pyarrow.string()).to_pylist()
        else:
            found = column.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        raise FileError(f"column '{name}' holds what cannot be read as {kind}") from error
    return found
