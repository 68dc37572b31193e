"""Rows of the log as columns: the shape of the archive and of exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from domain.records import Row

COLUMNS: Final = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("stream_id", pa.string(), nullable=False),
        pa.field("version", pa.int32(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("recorded_at", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("state", pa.binary(), nullable=False),
    ]
)


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table."""
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, COLUMNS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=COLUMNS)


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of such a table, in its order."""
    columns = [
        (pc.cast(table[name], pa.int64()) if name == "recorded_at" else table[name]).to_pylist()
        for name in Row._fields
    ]
    return list(map(Row._make, zip(*columns, strict=True)))
