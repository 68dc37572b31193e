"""The log by itself: append, group commit and sequential read, each beside what PostgreSQL and the
`eventsourcing` package's own recorder do with the same bytes in the same run.

Events are records of about 400 bytes. Every figure is durable (`synchronous_commit=on`). Goals: issue "The
log", section "Speed and memory".
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import sql
from sqlalchemy import Engine, make_url

from adapters.database import open_database
from adapters.keys.keyring import OPTION, Keyring
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from adapters.log.read import driver_of, iterate, read_head
from adapters.log.wire import HEADER, TRAILER, encode_log_rows
from benchmarks.events import BATCH, PERSONS, batches, event
from benchmarks.log_memory import memory
from benchmarks.rebuild import rebuild_figures
from benchmarks.report import Figure, arguments, conclude
from domain.records import Entry, record_of
from runtime.embedded.postgres import start_postgres
from runtime.group_commit import GroupCommit
from runtime.migrate import migrate

THEIR_BATCH: Final = 1_000
WRITERS: Final = 64


class Unsealed(Keyring):
    """Leaves states in the clear, to measure what sealing costs."""

    def seal(self, cursor: object, entries: Sequence[Entry], erasures: int) -> Sequence[Entry]:
        return entries


class Sizes(NamedTuple):
    """How much of each a run does."""

    early: int
    late: int
    sample: int
    their_batches: int
    their_saves: int
    singles: int
    memory: int
    rebuilt: int


FULL: Final = Sizes(100_000, 10_000_000, 200_000, 50, 2_000, 20_000, 1_000_000, 1_000_000)
#: What `benchmarks.rebuild --quick` measures is left to it.
QUICK: Final = Sizes(50_000, 250_000, 50_000, 10, 300, 6_000, 60_000, 0)


def main() -> None:
    asked = arguments(__doc__)
    # As the console script does.
    gc.freeze()
    sizes = QUICK if asked.quick else FULL
    with tempfile.TemporaryDirectory() as home, start_postgres(Path(home)) as server:
        migrate(server.url)
        keys = parse_masters(new_master())
        sealed = open_database(server.url, application="benchmark", keys=keys, pool_size=WRITERS)
        engine = sealed.execution_options(**{OPTION: Unsealed(keys)})
        try:
            figures = [*_appends(engine, sizes), *_theirs(server.url, engine, sizes)]
            figures += [*_singles(engine, sizes), *_reads(engine, sizes), *_sealed(sealed, sizes)]
            figures += [*_growth(engine, sizes), *memory(server.url, sizes.memory)]
            figures += rebuild_figures(server.url, sizes.rebuilt) if sizes.rebuilt else []
        finally:
            engine.dispose()
    conclude("The log", figures, asked, [f"{BATCH:,} rows an append; events of {len(event(1).state)} bytes"])


def _timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _append_rate(engine: Engine, first: int, count: int) -> float:
    """Events/s of appending alone; making the events is not counted."""
    took = 0.0
    for batch in batches(first, count):
        began = time.perf_counter()
        with engine.begin() as connection:
            append(connection, batch)
        took += time.perf_counter() - began
    return count / took


def _copy_rate(engine: Engine, count: int, write: Callable[[psycopg.Copy, Sequence[Entry]], None]) -> float:
    """Rows/s of a bare COPY of the same rows into an unindexed table, committed as often as an append is."""
    took = 0.0
    binary = " (FORMAT binary)" if write is _encoded else ""
    with engine.connect() as connection:
        driver_of(connection).execute("CREATE TABLE bare AS SELECT * FROM log WITH NO DATA")
        driver_of(connection).execute("ALTER TABLE bare ALTER COLUMN state SET STORAGE EXTERNAL")
        connection.commit()
        for batch in batches(1_000_000_000, count):
            began = time.perf_counter()
            with driver_of(connection).cursor().copy(f"COPY bare FROM STDIN{binary}") as copy:
                write(copy, batch)
            connection.commit()
            took += time.perf_counter() - began
        driver_of(connection).execute("DROP TABLE bare")
        connection.commit()
    return count / took


def _row_by_row(copy: psycopg.Copy, batch: Sequence[Entry]) -> None:
    """As psycopg's users write: row by row. The same reference as in shared/baselines.md."""
    for position, entry in enumerate(batch):
        copy.write_row((position, entry.stream_id, 1, entry.topic, entry.subject, 0, entry.state))


def _encoded(copy: psycopg.Copy, batch: Sequence[Entry]) -> None:
    """With our own encoding, which psycopg's is far from: the most that this server takes in."""
    copy.write(HEADER + b"".join(encode_log_rows(1, 0, batch)) + TRAILER)


def _appends(engine: Engine, sizes: Sizes) -> list[Figure]:
    _append_rate(engine, 2_000_000_000, BATCH)
    ours = _append_rate(engine, 0, sizes.early)
    copy = _copy_rate(engine, sizes.early, _row_by_row)
    most = _copy_rate(engine, sizes.early, _encoded)
    return [
        Figure("append in batches, duplicates checked", ours, "events/s"),
        Figure("bare psycopg COPY of the same rows", copy, "rows/s"),
        Figure("append ÷ bare COPY", ours / copy, "×", 0.6),
        Figure("bare COPY with our binary encoding", most, "rows/s"),
        Figure("append ÷ bare COPY with our encoding", ours / most, "×"),
    ]


def _theirs(url: str, engine: Engine, sizes: Sizes) -> list[Figure]:
    address = make_url(url)
    store = PostgresDatastore(
        dbname=address.database or "",
        host=str(address.query.get("host") or address.host or ""),
        port=str(address.query.get("port") or address.port or 5432),
        user=address.username or "",
        password=address.password or "",
    )
    try:
        recorder = PostgresApplicationRecorder(store, events_table_name="their_events")
        recorder.create_table()
        events = [StoredEvent(UUID(e.stream_id), 1, e.topic, e.state) for b in batches(0, 1) for e in b]
        state, topic = events[0].state, events[0].topic

        def many_at_once() -> None:
            for _ in range(sizes.their_batches):
                recorder.insert_events([StoredEvent(uuid4(), 1, topic, state) for _ in range(THEIR_BATCH)])

        def one_by_one() -> None:
            for _ in range(sizes.their_saves):
                recorder.insert_events([StoredEvent(uuid4(), 1, topic, state)])

        many = sizes.their_batches * THEIR_BATCH / _timed(many_at_once)
        single = sizes.their_saves / _timed(one_by_one)
    finally:
        store.close()
    ours = _append_rate(engine, 3_000_000_000, sizes.early)
    return [
        Figure("eventsourcing's recorder, batches of 1,000", many, "events/s"),
        Figure("append ÷ eventsourcing's batches", ours / many, "×", 3),
        Figure("eventsourcing's recorder, one event a save", single, "events/s"),
        Figure("append ÷ eventsourcing's single saves", ours / single, "×", 100),
    ]


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

    together = sizes.singles // WRITERS * WRITERS / _timed(lambda: asyncio.run(grouped()))
    each = max(sizes.singles // WRITERS // 10, 2)
    with ThreadPoolExecutor(WRITERS) as threads:
        took = _timed(lambda: list(threads.map(lambda writer: alone(writer, each), range(WRITERS))))
    apart = each * WRITERS / took
    return [
        Figure("64 writers of single records, group commit", together, "events/s"),
        Figure("64 writers, one commit each", apart, "events/s"),
        Figure("group commit ÷ one commit each", together / apart, "×", 10),
    ]


def _reads(engine: Engine, sizes: Sizes) -> list[Figure]:
    with engine.connect() as connection:
        driver = driver_of(connection)
        count = 0

        def ours() -> None:
            nonlocal count
            for row in iterate(connection, upto=sizes.sample):
                record_of(row.state)
                count += 1

        def bare(decode: bool) -> None:
            query = sql.SQL("COPY (SELECT * FROM log WHERE position <= {}) TO STDOUT (FORMAT binary)")
            with driver.cursor().copy(query.format(sizes.sample)) as copy:
                copy.set_types(["int8", "uuid", "int4", "text", "uuid", "int8", "bytea"])
                for _ in copy.rows() if decode else copy:
                    pass

        bare(False)
        rows = sizes.sample / _timed(lambda: bare(True))
        raw = sizes.sample / _timed(lambda: bare(False))
        took = _timed(ours)
    read = count / took
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
    new = _append_rate(engine, start, PERSONS)
    ours = _append_rate(engine, start + PERSONS, sizes.early)
    copy = _copy_rate(engine, sizes.early, _row_by_row)
    upto = after + PERSONS + sizes.early

    def read() -> None:
        with engine.connect() as connection:
            for row in iterate(connection, after, upto):
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
        out = (upto - after) / _timed(bare)
    opened = (upto - after) / _timed(read)
    return [
        Figure(f"encrypted append, {PERSONS:,} persons new", new, "events/s"),
        Figure("encrypted append", ours, "events/s"),
        Figure("encrypted append ÷ bare COPY", ours / copy, "×", 0.4),
        Figure("encrypted append of new persons ÷ bare COPY", new / copy, "×"),
        Figure("sequential read with decryption and decode", opened, "events/s"),
        Figure("read with decryption ÷ bare COPY out", opened / out, "×"),
    ]


def _growth(engine: Engine, sizes: Sizes) -> list[Figure]:
    early = _append_rate(engine, 10_000_000_000, sizes.early)
    _append_rate(engine, 20_000_000_000, sizes.late)
    # Long enough to have its share of what grows: pages written whole after a checkpoint.
    late = _append_rate(engine, 40_000_000_000, max(sizes.early, sizes.late // 20))
    return [
        Figure(f"append with {sizes.early:,} events in the log", early, "events/s"),
        Figure(f"append with {sizes.late:,} events in the log", late, "events/s"),
        Figure("late ÷ early", late / early, "×", 0.85),
    ]


if __name__ == "__main__":
    main()
