"""What tests share about a log that somebody tampers with: the owner without triggers, and tiny partitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, text

from adapters.log.append import append
from domain.records import Entry, derive_id


@contextmanager
def tampering(database: str) -> Iterator[Connection]:
    """A transaction as the owner of the tables, whose triggers do not fire."""
    owner = create_engine(database)
    try:
        with owner.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            yield connection
    finally:
        owner.dispose()


def shrink_partitions(database: str, rows: int, home: str = "public") -> None:
    """Lets a log that is still empty have partitions of so many rows."""
    owner = create_engine(database)
    with owner.begin() as connection:
        connection.execute(text(f"UPDATE {home}.log_head SET partition_rows = :rows"), {"rows": rows})
        connection.execute(text(f"DROP TABLE {home}.log_0, {home}.log_1"))
        for number in (0, 1):
            statement = text(f"SELECT public.log_add_partition(:number, '{home}.log')")
            connection.execute(statement, {"number": number})
    owner.dispose()


def entry(name: str, subject: str | None = None) -> Entry:
    return Entry(derive_id("test", name), 1, f"track.{name}", subject, f'{{"name":"{name}"}}'.encode())


def fill(engine: Engine, *sizes: int) -> None:
    """Appends batches of these sizes."""
    with engine.begin() as connection:
        after = connection.execute(text("SELECT position FROM log_head")).scalar_one()
    for size in sizes:
        with engine.begin() as connection:
            append(connection, [entry(str(after + n)) for n in range(1, size + 1)])
        after += size
