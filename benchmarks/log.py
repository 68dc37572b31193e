"""The log by itself: append, group commit and sequential read, each beside what PostgreSQL and the
`eventsourcing` package's own recorder do with the same bytes in the same run.

Events are records of about 400 bytes. Every figure is durable (`synchronous_commit=on`). Goals: issue "The
log", section "Speed and memory".
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import sql
from sqlalchemy import Engine, make_url

from adapters.database import open_database
from adapters.keys.keyring import OPTION
from adapters.log.append import append
from adapters.log.read import driver_of, pages, read_head
from benchmarks.events import BATCH, PERSONS, event
from benchmarks.log_growth import growth
from benchmarks.log_memory import memory
from benchmarks.rebuild import rebuild_figures
from benchmarks.report import Figure, arguments, conclude
from benchmarks.side_by_side import (
    KEYS,
    Unsealed,
    Work,
    append_rate,
    appending,
    copying,
    encoded,
    row_by_row,
    side_by_side,
    timed,
)
from domain.records import Entry, record_of
from runtime.embedded.postgres import start_postgres
from runtime.group_commit import GroupCommit
from runtime.migrate import migrate

THEIR_BATCH: Final = 1_000
WRITERS: Final = 64
#: How often the log is read.
TURNS: Final = 5


class Sizes(NamedTuple):
    """How much of each a run does."""

    early: int
    late: int
    sample: int
    their_saves: int
    singles: int
    memory: int
    rebuilt: int


FULL: Final = Sizes(100_000, 10_000_000, 200_000, 2_000, 20_000, 1_000_000, 1_000_000)
#: What `benchmarks.rebuild --quick` measures is left to it.
QUICK: Final = Sizes(50_000, 250_000, 50_000, 300, 4_000, 40_000, 0)


def main() -> None:
    asked = arguments(__doc__)
    # As the console script does.
    gc.freeze()
    sizes = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory() as home, start_postgres(Path(home)) as server:
        migrate(server.url)
        sealed = open_database(server.url, application="benchmark", keys=KEYS, pool_size=WRITERS)
        engine = sealed.execution_options(**{OPTION: Unsealed(KEYS)})
        try:
            figures = _appends(server.url, engine, sizes)
            figures += [*_singles(engine, sizes), *_reads(engine, sizes), *_sealed(sealed, sizes)]
            figures += memory(server.url, sizes.memory)
            figures += rebuild_figures(server.url, sizes.rebuilt) if sizes.rebuilt else []
        finally:
            engine.dispose()
    figures += growth(sizes.early, sizes.late)
    conclude("The log", figures, asked, [f"{BATCH:,} rows an append; events of {len(event(1).state)} bytes"])


def _appends(url: str, engine: Engine, sizes: Sizes) -> list[Figure]:
    append_rate(engine, 2_000_000_000, BATCH)
    with (
        copying(engine, row_by_row) as rows,
        copying(engine, encoded) as most,
        _recording(url, sizes) as (many, single),
    ):
        works = {"ours": appending(engine), "copy": rows, "most": most, "many": many, "single": single}
        rates = side_by_side(works, dict.fromkeys(works, 0), sizes.early)
    ours = rates["ours"]
    return [
        Figure("append in batches, duplicates checked", ours, "events/s"),
        Figure("bare psycopg COPY of the same rows", rates["copy"], "rows/s"),
        Figure("append ÷ bare COPY", ours / rates["copy"], "×", 0.6),
        Figure("bare COPY with our binary encoding", rates["most"], "rows/s"),
        Figure("append ÷ bare COPY with our encoding", ours / rates["most"], "×"),
        Figure("eventsourcing's recorder, batches of 1,000", rates["many"], "events/s"),
        Figure("append ÷ eventsourcing's batches", ours / rates["many"], "×", 3),
        Figure("eventsourcing's recorder, one event a save", rates["single"], "events/s"),
        Figure("append ÷ eventsourcing's single saves", ours / rates["single"], "×", 100),
    ]


@contextmanager
def _recording(url: str, sizes: Sizes) -> Iterator[tuple[Work, Work]]:
    """What the `eventsourcing` package's own recorder does: many events at once, and one at a time."""
    address = make_url(url)
    store = PostgresDatastore(
        dbname=address.database or "",
        host=str(address.query.get("host") or address.host or ""),
        port=str(address.query.get("port") or address.port or 5432),
        user=address.username or "",
        password=address.password or "",
    )
    saves = sizes.their_saves * BATCH // sizes.early
    recorder = PostgresApplicationRecorder(store, events_table_name="their_events")
    recorder.create_table()

    def stored(entry: Entry) -> StoredEvent:
        return StoredEvent(uuid4(), 1, entry.topic, entry.state)

    def many(batch: list[Entry]) -> int:
        recorder.insert_events([stored(entry) for entry in batch[:THEIR_BATCH]])
        return THEIR_BATCH

    def single(batch: list[Entry]) -> int:
        for entry in batch[:saves]:
            recorder.insert_events([stored(entry)])
        return saves

    try:
        yield many, single
    finally:
        store.close()


def _singles(engine: Engine, sizes: Sizes) -> list[Figure]:
    """64 writers that hand in one record at a time and wait until it is durable."""

    async def grouped() -> None:
        group = GroupCommit(engine)
        running = asyncio.create_task(group.run())

        async def write(writer: int) -> None:
            for n in range(sizes.singles // WRITERS):
                await group.append([event(4_000_000_000 + writer * 1_000_000 + n)])

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        running.cancel()

    def alone(writer: int, each: int) -> None:
        for n in range(each):
            with engine.begin() as connection:
                append(connection, [event(5_000_000_000 + writer * 1_000_000 + n)])

    together = sizes.singles // WRITERS * WRITERS / timed(lambda: asyncio.run(grouped()))
    each = max(sizes.singles // WRITERS // 10, 2)
    with ThreadPoolExecutor(WRITERS) as threads:
        took = timed(lambda: list(threads.map(lambda writer: alone(writer, each), range(WRITERS))))
    apart = each * WRITERS / took
    return [
        Figure("64 writers of single records, group commit", together, "events/s"),
        Figure("64 writers, one commit each", apart, "events/s"),
        Figure("group commit ÷ one commit each", together / apart, "×", 10),
    ]


def _reads(engine: Engine, sizes: Sizes) -> list[Figure]:
    """As `log export` and `log tail` read, and as psycopg's users do, in turn."""

    def ours() -> None:
        for rows in pages(engine, upto=sizes.sample):
            for row in rows:
                record_of(row.state)

    with engine.connect() as connection:
        query = sql.SQL("COPY (SELECT * FROM log WHERE position <= {}) TO STDOUT (FORMAT binary)")

        def bare(decode: bool) -> None:
            with driver_of(connection).cursor().copy(query.format(sizes.sample)) as copy:
                copy.set_types(["int8", "uuid", "int4", "text", "uuid", "int8", "bytea"])
                for _ in copy.rows() if decode else copy:
                    pass

        works: dict[str, Callable[[], None]] = {
            "ours": ours,
            "rows": partial(bare, True),
            "bytes": partial(bare, False),
        }
        for work in works.values():
            work()
        took = dict.fromkeys(works, 0.0)
        for _ in range(TURNS):
            for name, work in works.items():
                took[name] += timed(work)
    read, rows, raw = (TURNS * sizes.sample / took[name] for name in works)
    return [
        Figure("sequential read with decode", read, "events/s"),
        Figure("bare COPY out, rows by psycopg", rows, "rows/s"),
        Figure("read ÷ bare COPY out", read / rows, "×", 0.5),
        Figure("bare COPY out, bytes thrown away", raw, "rows/s"),
    ]


def _sealed(engine: Engine, sizes: Sizes) -> list[Figure]:
    """As the product does it: with encryption. First with persons who need a key, then with keys in memory."""
    start = 50_000_000_000
    with engine.connect() as connection:
        after = read_head(connection).position
    new = append_rate(engine, start, PERSONS)
    # A process that did not make a key reads it once.
    append_rate(engine, start + PERSONS, PERSONS)
    with copying(engine, row_by_row) as rows:
        works = {"ours": appending(engine), "copy": rows}
        rates = side_by_side(works, dict.fromkeys(works, start + 2 * PERSONS), sizes.early)
    ours, copy = rates["ours"], rates["copy"]
    upto = after + 2 * PERSONS + sizes.early

    def read() -> None:
        for rows in pages(engine, after, upto):
            for row in rows:
                record_of(row.state)

    with engine.connect() as connection:
        query = sql.SQL(
            "COPY (SELECT * FROM log WHERE position > {} AND position <= {}) TO STDOUT (FORMAT binary)"
        )

        def bare() -> None:
            with driver_of(connection).cursor().copy(query.format(after, upto)) as out:
                out.set_types(["int8", "uuid", "int4", "text", "uuid", "int8", "bytea"])
                for _ in out.rows():
                    pass

        bare()
        out = (upto - after) / timed(bare)
    opened = (upto - after) / timed(read)
    return [
        Figure(f"encrypted append, {PERSONS:,} persons new", new, "events/s"),
        Figure("encrypted append", ours, "events/s"),
        Figure("encrypted append ÷ bare COPY", ours / copy, "×", 0.4),
        Figure("encrypted append of new persons ÷ bare COPY", new / copy, "×"),
        Figure("sequential read with decryption and decode", opened, "events/s"),
        Figure("read with decryption ÷ bare COPY out", opened / out, "×"),
    ]


if __name__ == "__main__":
    main()
