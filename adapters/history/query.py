"""The history as DuckDB relations: the lake's Parquet files, and what of the log is not in them yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
from sqlalchemy import Connection

from adapters.history.columns import SCHEMAS
from adapters.history.tables import tables_of
from adapters.log.read import driver_of
from domain.history import AttributeRow, ConsentRow, HappenedRow, HistoryRow

MEMORY_LIMIT: Final = "4GB"


@contextmanager
def open_duckdb(threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in memory that fetches nothing from outside."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "memory_limit": MEMORY_LIMIT,
    }
    if threads is not None:
        config["threads"] = str(threads)
    connection = duckdb.connect(config=config)
    try:
        # Where there is no main module to be seen, it takes itself for a shell.
        connection.execute("SET enable_progress_bar = false")
        yield connection
    finally:
        connection.close()


def offer_history(
    connection: duckdb.DuckDBPyConnection,
    files: Mapping[str, list[str]],
    written: Mapping[str, int],
    tail: Iterable[HistoryRow],
) -> None:
    """Makes the relations `events`, `attributes` and `consents`: files, and of the tail what they have not."""
    kinds: dict[str, list[HistoryRow]] = {name: [] for name in SCHEMAS}
    for row in tail:
        match row:
            case HappenedRow():
                kinds["events"].append(row)
            case AttributeRow():
                kinds["attributes"].append(row)
            case ConsentRow():
                kinds["consents"].append(row)
    fresh = tables_of({n: [row for row in of if row.position > written[n]] for n, of in kinds.items()})
    for name, table in fresh.items():
        connection.register(f"{name}_tail", table)
        relation = connection.table(f"{name}_tail")
        if files[name]:
            stored = _offer_files(connection, name, files[name])
            # Files alone are read with fewer columns and rows; a union hides what they know of themselves.
            if table.num_rows:
                stored.create_view(f"{name}_stored")
                relation = connection.sql(f"FROM {name}_stored UNION ALL BY NAME FROM {name}_tail")
            else:
                relation = stored
        relation.create_view(name)


def _offer_files(
    connection: duckdb.DuckDBPyConnection, name: str, files: list[str]
) -> duckdb.DuckDBPyRelation:
    local = [path for file in files if (path := _path(file)) is not None]
    if len(local) == len(files):
        # Files of an earlier release may lack a column.
        return connection.read_parquet(local, union_by_name=True)
    # DuckDB's own reader of object stores is an extension that it would have to fetch.
    connection.register(f"{name}_files", pa_dataset.dataset(files, format="parquet", schema=SCHEMAS[name]))
    return connection.table(f"{name}_files")


def _path(address: str) -> str | None:
    parts = urlsplit(address)
    if parts.scheme == "":
        return address
    return unquote(parts.path) if parts.scheme == "file" else None


#: Of the ids of people, the least and the greatest.
EVERYBODY: Final = UUID(int=0), UUID(int=2**128 - 1)


def offer_people(
    connection: duckdb.DuckDBPyConnection, database: Connection, between: tuple[UUID, UUID] = EVERYBODY
) -> int:
    """Makes the relations `identity` and `person` from the identity projection, with people numbered in order, of those
    from one id to another; how many there are."""
    sink = pa.BufferOutputStream()
    sink.write(b"node,profile\n")
    with (
        driver_of(database).cursor() as cursor,
        cursor.copy(
            "COPY (SELECT node, profile FROM identity WHERE profile BETWEEN %s AND %s) TO STDOUT (FORMAT csv)",
            between,
        ) as copy,
    ):
        for chunk in copy:
            sink.write(chunk)
    linked = pa_csv.read_csv(
        pa.BufferReader(sink.getvalue()),
        convert_options=pa_csv.ConvertOptions(column_types={"node": pa.string(), "profile": pa.string()}),
    )
    connection.register("linked", linked)
    connection.execute(
        "CREATE TABLE person AS SELECT profile, row_number() OVER (ORDER BY profile)::INTEGER AS who"
        " FROM (SELECT DISTINCT profile FROM linked)"
    )
    connection.execute(
        "CREATE TABLE identity AS SELECT l.node, p.who FROM linked l JOIN person p USING (profile)"
    )
    connection.unregister("linked")
    [(people,)] = connection.execute("SELECT count(*) FROM person").fetchall()
    return int(people)
