"""The history in the lake: three Delta tables that anything can read, written once by position.

Each commit carries the position that it comes to, in the same atomic step as its rows (Delta's transaction
identifiers, github.com/delta-io/delta/blob/master/PROTOCOL.md): a writer that was killed goes on where the table
is, and writes no row twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake

from adapters.history.columns import SCHEMAS, attributes_table, consents_table, events_table
from domain.history import AttributeRow, ConsentRow, HappenedRow, HistoryRow

_APPLICATION: Final = "roundtrip history"
_WRITER: Final = WriterProperties(compression="ZSTD", max_row_group_size=50_000)
#: With more files than this a table is rewritten into fewer.
FILES: Final = 64
#: Nodes that one rewrite of an erasure names.
ERASED_AT_ONCE: Final = 500


class History:
    """The history's tables at a location: a folder, or the URL of an object store (`s3://…`).

    `options` are the store's, as `deltalake` takes them.
    """

    def __init__(self, location: str, options: Mapping[str, str] | None = None) -> None:
        self._location = location.rstrip("/")
        self._options = dict(options or {})

    def written(self) -> dict[str, int]:
        """Table → the position up to which it is written."""
        return {name: self._position(name) for name in SCHEMAS}

    def write(self, rows: Iterable[HistoryRow], upto: int) -> None:
        """Appends rows and moves every table to a position; what a table has already is passed over."""
        written = self.written()
        kinds: dict[str, list[Any]] = {name: [] for name in SCHEMAS}
        for row in rows:
            match row:
                case HappenedRow():
                    kinds["events"].append(row)
                case AttributeRow():
                    kinds["attributes"].append(row)
                case ConsentRow():
                    kinds["consents"].append(row)
        tables = tables_of({n: [row for row in of if row.position > written[n]] for n, of in kinds.items()})
        self._write(tables, upto, written)

    def write_tables(self, tables: Mapping[str, pa.Table], upto: int) -> None:
        """As `write`, of rows above what is written that are Arrow tables already (`adapters/history/columns.py`)."""
        self._write(tables, upto, self.written())

    def _write(self, tables: Mapping[str, pa.Table], upto: int, written: Mapping[str, int]) -> None:
        for name, table in tables.items():
            if upto > written[name]:
                self._append(name, table, upto)

    def compact(self) -> None:
        """Rewrites tables of very many files into fewer, and removes what they no longer use."""
        for name in SCHEMAS:
            table = self._open(name)
            if table is not None and len(table.file_uris()) > FILES:
                table.optimize.z_order(
                    ["name"] if name != "consents" else ["purpose"], writer_properties=_WRITER
                )
                self._forget(table)

    def erase(self, nodes: Collection[str]) -> int:
        """Removes every row of these nodes from every file, also from those of earlier versions; how many."""
        gone, several = 0, sorted(nodes)
        for name in SCHEMAS:
            table = self._open(name)
            if table is None:
                continue
            for start in range(0, len(several), ERASED_AT_ONCE):
                named = ", ".join(f"'{node}'" for node in several[start : start + ERASED_AT_ONCE])
                said = table.delete(f"node IN ({named})", writer_properties=_WRITER)
                gone += int(said.get("num_deleted_rows") or 0)
            self._forget(table)
        return gone

    def files(self) -> dict[str, list[str]]:
        """Table → the Parquet files of its newest version, as addresses."""
        tables = {name: self._open(name) for name in SCHEMAS}
        return {name: table.file_uris() if table else [] for name, table in tables.items()}

    def _address(self, name: str) -> str:
        return f"{self._location}/history/{name}"

    def _open(self, name: str) -> DeltaTable | None:
        address = self._address(name)
        if not DeltaTable.is_deltatable(address, storage_options=self._options):
            return None
        return DeltaTable(address, storage_options=self._options)

    def _position(self, name: str) -> int:
        table = self._open(name)
        return (table.transaction_version(_APPLICATION) or 0) if table else 0

    def _append(self, name: str, table: pa.Table, upto: int) -> None:
        if "://" not in self._location:
            Path(self._address(name)).mkdir(parents=True, exist_ok=True)
        write_deltalake(
            self._address(name),
            table,
            mode="append",
            # A table that an earlier release began gets the columns that it lacks.
            schema_mode="merge",
            storage_options=self._options,
            writer_properties=_WRITER,
            commit_properties=CommitProperties(app_transactions=[Transaction(_APPLICATION, upto)]),
        )

    def _forget(self, table: DeltaTable) -> None:
        """Deletes the files that only earlier versions use."""
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def tables_of(rows: Mapping[str, list[Any]]) -> dict[str, pa.Table]:
    """History rows by table → Arrow tables."""
    return {
        "events": events_table(rows.get("events", [])),
        "attributes": attributes_table(rows.get("attributes", [])),
        "consents": consents_table(rows.get("consents", [])),
    }
