"""Archiving a log of five partitions, and what becomes of one in which a row was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Engine

from adapters.lake.table import parts_of
from runtime.log_archive import archive_log
from runtime.verify import verify_log

#: Rows of a partition here; partition 0 has one less, as positions begin at 1.
EACH = 100
#: Four full partitions, and a fifth that is being filled. Batches lie across their borders.
SIZES = (3, 60, 1, 90, 200, 37, 20)
WHOLE = sum(SIZES)


def archived(owner: Engine, location: str, keep: int = 1) -> list[int]:
    return [partition.number for partition in archive_log(owner, location, keep, lambda done, of: None)]


def fault_of(database: str) -> Any:
    return verify_log(database, lambda done, of: None).fault


def alter(location: str, position: int, change: dict[str, object] | None) -> None:
    """Writes the file with this row anew, with the row altered or left out."""
    part = next(p for p in parts_of(location, position // EACH) if p.first <= position <= p.last)
    file = Path(location.removeprefix("file://")) / part.path
    table = pq.ParquetFile(file).read()
    rows = [row | (change or {}) if row["position"] == position else row for row in table.to_pylist()]
    rows = [row for row in rows if change is not None or row["position"] != position]
    pq.write_table(table.from_pylist(rows, schema=table.schema), file, compression="zstd")
