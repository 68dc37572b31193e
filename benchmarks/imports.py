"""Importing files: CSV and Parquet through a mapping into the log, durable, beside the log's own append of the
same entries in the same run.

Rows are people with identifiers, coerced traits and a consent, as an operator's export has them. The reader's process
begins with a file that is not measured. Goals: issue "Feeds", section "Speed".
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow
import pyarrow.csv
import pyarrow.parquet
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.files import open_file
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from benchmarks.report import Figure, arguments, conclude
from domain.records import Entry
from feeds.blocks import BLOCK_ROWS
from feeds.mapping import Mapping
from runtime.embedded.postgres import start_postgres
from runtime.import_batches import batches
from runtime.import_reader import Reader
from runtime.imports import run_import
from runtime.migrate import migrate

CSV_GOAL: Final = 40_000
PARQUET_GOAL: Final = 60_000
MAPPING: Final = Mapping.model_validate(
    {
        "type": "identify",
        "identifiers": {"user_id": "id", "email": "email"},
        "time": {"column": "changed_at"},
        "values": {
            "plan": {"column": "plan", "one_of": ["free", "pro"]},
            "score": {"column": "score", "as": "number", "min": 0, "max": 1},
            "orders": {"column": "orders", "as": "integer"},
            "signed_up_at": {"column": "signed_up_at", "as": "time"},
            "city": "city",
        },
        "consent": {"push": "push"},
    }
)


def table(rows: int, seed: int = 1) -> pyarrow.Table:
    """People as a warehouse's export has them."""
    chance = random.Random(seed)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    times = [begin + timedelta(seconds=chance.randrange(20_000_000)) for _ in range(rows)]
    return pyarrow.table(
        {
            "id": [f"user-{number:07d}" for number in range(rows)],
            "email": [f"user-{number:07d}@example.com" for number in range(rows)],
            "plan": [chance.choice(("free", "pro")) for _ in range(rows)],
            "score": [round(chance.random(), 4) for _ in range(rows)],
            "orders": [chance.randrange(100) for _ in range(rows)],
            "city": [chance.choice(("Köln", "Lyon", "Graz", "Porto")) for _ in range(rows)],
            "signed_up_at": times,
            "changed_at": [at + timedelta(days=3) for at in times],
            "push": [chance.random() < 0.7 for _ in range(rows)],
        }
    )


def figures(engine: Engine, folder: Path, rows: int) -> list[Figure]:
    """What a database that is there takes in of files of so many rows."""
    csv, parquet = folder / "people.csv", folder / "people.parquet"
    pyarrow.parquet.write_table(table(rows, 1), parquet)
    text = table(rows, 2)
    for name in ("signed_up_at", "changed_at"):
        at = text.schema.get_field_index(name)
        written = [value.isoformat() for value in text.column(name).to_pylist()]
        text = text.set_column(at, name, pyarrow.array(written))
    pyarrow.csv.write_csv(text, csv)
    del text
    with Reader() as reader:
        _import(engine, _small(folder), "warm", reader)
        from_csv = rows / _import(engine, csv, "csv", reader)
        from_parquet = rows / _import(engine, parquet, "parquet", reader)
    appended = _append_rate(engine, parquet, rows)
    return [
        Figure("import of CSV", from_csv, "rows/s", CSV_GOAL),
        Figure("import of Parquet", from_parquet, "rows/s", PARQUET_GOAL),
        Figure("the log's own append of the same entries", appended, "rows/s"),
        Figure("CSV ÷ the log's append", from_csv / appended, "×"),
        Figure("Parquet ÷ the log's append", from_parquet / appended, "×"),
    ]


def _small(folder: Path) -> Path:
    pyarrow.parquet.write_table(table(50_000, 3), folder / "small.parquet")
    return folder / "small.parquet"


def _import(engine: Engine, path: Path, feed: str, reader: Reader) -> float:
    gc.collect()
    began = time.perf_counter()
    with open_file(str(path)) as file:
        done = run_import(engine, file, feed, MAPPING, time.time_ns() // 1_000, reader=reader)
    took = time.perf_counter() - began
    assert not done.rejected, f"{done.rejected} rows were rejected"
    return took


def _append_rate(engine: Engine, path: Path, rows: int) -> float:
    entries: list[Entry] = []
    with open_file(str(path)) as file:
        for batch in batches(file, "append", MAPPING, 0, 0):
            entries += batch.entries
    took = 0.0
    for start in range(0, rows, BLOCK_ROWS):
        part = entries[start : start + BLOCK_ROWS]
        began = time.perf_counter()
        with engine.begin() as connection:
            append(connection, part)
        took += time.perf_counter() - began
    return rows / took


def main() -> None:
    asked = arguments(__doc__)
    rows = 150_000 if asked.quick else 600_000
    with tempfile.TemporaryDirectory() as home, start_postgres(Path(home)) as server:
        migrate(server.url)
        engine = open_database(server.url, application="benchmark", keys=parse_masters(new_master()))
        try:
            found = figures(engine, Path(home), rows)
        finally:
            engine.dispose()
    conclude("Imports", found, asked, [f"{rows:,} rows of 9 columns a file"])


if __name__ == "__main__":
    main()
