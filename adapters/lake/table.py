"""The log's old partitions as a Delta table, partitioned by the same numbers: which files it has, and commits.

Readable by whatever reads Delta Lake: DuckDB, Spark, Trino. Source: github.com/delta-io/delta, PROTOCOL.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import obstore
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction
from obstore.exceptions import BaseError as StoreError

from adapters.lake.columns import COLUMNS
from adapters.lake.errors import LakeError
from adapters.lake.place import make_durable, store_of

_TABLE: Final = pa.schema([pa.field("partition", pa.int64(), nullable=False), *COLUMNS])
_LOG: Final = "_delta_log"


class Part(NamedTuple):
    """A Parquet file of the table, by its path below it, and the positions that it holds."""

    path: str
    first: int
    last: int


def folder_of(partition: int) -> str:
    return f"partition={partition}"


def parts_of(url: str, partition: int) -> list[Part]:
    """The files of a partition as the table has them now, in order of position. Raises `LakeError`."""
    try:
        table = DeltaTable(url)
        found = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    except TableNotFoundError:
        return []
    except (DeltaError, OSError) as error:
        raise LakeError(f"{url}: the table cannot be read ({error})") from error
    parts = [
        Part(file["path"], file["min.position"], file["max.position"])
        for file in found
        if file["partition.partition"] == partition
    ]
    return sorted(parts, key=lambda part: part.first)


@lru_cache(maxsize=16)
def known_parts(url: str, partition: int) -> tuple[Part, ...]:
    """As `parts_of`, remembered: what a released partition holds never changes."""
    return tuple(parts_of(url, partition))


def replace_partition(url: str, partition: int, parts: Sequence[Part]) -> None:
    """Makes these files the partition, in one commit, in place of whatever it held; then they are durable.

    Raises `LakeError`.
    """
    try:
        table = DeltaTable.create(
            url,
            _TABLE,
            mode="ignore",
            partition_by=["partition"],
            name="log",
            description="Roundtrip's log: the partitions that are no longer in the database",
        )
        table.create_write_transaction(
            [_action(url, partition, part) for part in parts],
            "overwrite",
            _TABLE,
            ["partition"],
            [("partition", "=", str(partition))],
        )
        make_durable(url, _LOG, folder_of(partition))
    except (DeltaError, StoreError, OSError) as error:
        raise LakeError(f"{url}: partition {partition} cannot be committed ({error})") from error


def remove_strays(url: str, partition: int) -> None:
    """Removes files of a partition that the table does not hold: what a run that was killed has left."""
    held = {part.path for part in parts_of(url, partition)}
    store = store_of(url)
    for found in list(obstore.list(store, prefix=folder_of(partition))):
        strays = [file["path"] for file in found if file["path"] not in held]
        if strays:
            obstore.delete(store, strays)


def _action(url: str, partition: int, part: Part) -> AddAction:
    said = {
        "numRecords": part.last - part.first + 1,
        "minValues": {"position": part.first},
        "maxValues": {"position": part.last},
        "nullCount": {"position": 0},
    }
    size = obstore.head(store_of(url), part.path)["size"]
    now = time.time_ns() // 1_000_000
    return AddAction(part.path, size, {"partition": str(partition)}, now, True, json.dumps(said))
