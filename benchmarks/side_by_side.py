"""Writing the log, measured side by side: our append, and a bare COPY of the same rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import psycopg
from sqlalchemy import Engine

from adapters.keys.keyring import Keyring
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from adapters.log.read import driver_of
from adapters.log.wire import HEADER, TRAILER, encode_log_rows
from benchmarks.events import batches
from domain.records import Entry

KEYS: Final = parse_masters(new_master())
#: Writes a batch, and says how many rows those are.
Work = Callable[[list[Entry]], int]


class Unsealed(Keyring):
    """Leaves states in the clear, to measure what sealing costs."""

    def seal(self, cursor: object, entries: Sequence[Entry], erasures: int) -> Iterator[bytes]:
        return (entry.state for entry in entries)


def timed(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def append_rate(engine: Engine, first: int, count: int) -> float:
    """Events/s of appending alone; making the events is not counted."""
    [rate] = side_by_side({"ours": appending(engine)}, {"ours": first}, count).values()
    return rate


def side_by_side(works: Mapping[str, Work], firsts: Mapping[str, int], count: int) -> dict[str, float]:
    """Rates by name. A batch of each work is done in turn, as the machine is not as fast in one second as in the
    next; a work says how many rows it has written. Making the events is not counted."""
    took, done = dict.fromkeys(works, 0.0), dict.fromkeys(works, 0)
    for together in zip(*(batches(firsts[name], count) for name in works), strict=True):
        for (name, work), batch in zip(works.items(), together, strict=True):
            began = time.perf_counter()
            done[name] += work(batch)
            took[name] += time.perf_counter() - began
    return {name: done[name] / took[name] for name in works}


def appending(engine: Engine) -> Work:
    def work(batch: list[Entry]) -> int:
        with engine.begin() as connection:
            append(connection, batch)
        return len(batch)

    return work


@contextmanager
def copying(engine: Engine, write: Callable[[psycopg.Copy, Sequence[Entry]], None]) -> Iterator[Work]:
    """A bare COPY of the same rows into an unindexed table, committed as often as an append is."""
    binary = " (FORMAT binary)" if write is encoded else ""
    table = f"bare_{write.__name__}"
    with engine.connect() as connection:
        driver = driver_of(connection)
        driver.execute(f"CREATE TABLE {table} AS SELECT * FROM log WITH NO DATA")
        driver.execute(f"ALTER TABLE {table} ALTER COLUMN state SET STORAGE EXTERNAL")
        connection.commit()

        def work(batch: list[Entry]) -> int:
            with driver_of(connection).cursor().copy(f"COPY {table} FROM STDIN{binary}") as copy:
                write(copy, batch)
            connection.commit()
            return len(batch)

        yield work
        driver_of(connection).execute(f"DROP TABLE {table}")
        connection.commit()


def row_by_row(copy: psycopg.Copy, batch: Sequence[Entry]) -> None:
    """As psycopg's users write: row by row. The same reference as in shared/baselines.md."""
    for position, entry in enumerate(batch):
        copy.write_row((position, entry.stream_id, 1, entry.topic, entry.subject, 0, entry.state))


def encoded(copy: psycopg.Copy, batch: Sequence[Entry]) -> None:
    """As this project writes: all rows encoded in one go."""
    copy.write(HEADER + b"".join(encode_log_rows(1, 0, batch, (entry.state for entry in batch))) + TRAILER)
