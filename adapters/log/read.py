"""Reading the log: in order of position, which is the order of commit, so nothing is ever skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import Connection

from adapters.log.schema import CHANNEL
from domain.records import Row

#: Kinds of rows that the pipeline appends, and has no need to read again.
DERIVED = ("audience", "profile", "identity", "routing")
_DERIVED = " OR ".join(f"starts_with(topic, '{kind}.')" for kind in DERIVED)
_COLUMNS = "position, stream_id::text, version, topic, subject::text, recorded_at, state"


class Head(NamedTuple):
    """The log's last position and time (microseconds), and which clock stamps it."""

    position: int
    recorded_at: int
    clock: str


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy connection, for COPY, LISTEN and binary results.

    What is done on it is in the SQLAlchemy connection's transaction, which begins here where none has.
    """
    if not connection.in_transaction():
        connection.begin()
    # Not `driver_connection`, which a connection taken out of its pool no longer has.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def read_head(connection: Connection) -> Head:
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position, recorded_at, clock FROM log_head").fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    return Head(*row)


def read_rows(connection: Connection, after: int, limit: int, upto: int | None = None) -> list[Row]:
    """At most `limit` rows with a position above `after`, and not above `upto` where that is given."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM log WHERE position > %b AND position <= %b ORDER BY position LIMIT %b",  # noqa: S608
            (after, upto if upto is not None else 2**62, limit),
        )
        return [Row._make(row) for row in cursor]


def read_sources(
    connection: Connection, after: int, limit: int, upto: int | None = None
) -> tuple[list[Row], int]:
    """As `read_rows`, without the rows that the pipeline itself has derived from others; and the position up
    to which there are no others than these."""
    with driver_of(connection).cursor(binary=True) as cursor:
        [head] = cursor.execute("SELECT position FROM log_head").fetchone() or [0]
        end = head if upto is None else min(head, upto)
        cursor.execute(
            f"SELECT {_COLUMNS} FROM log WHERE position > %b AND position <= %b AND NOT ({_DERIVED})"  # noqa: S608
            " ORDER BY position LIMIT %b",
            (after, end, limit),
        )
        rows = [Row._make(row) for row in cursor]
    return rows, rows[-1].position if len(rows) == limit else max(end, after)


def read_positions(connection: Connection, positions: list[int]) -> list[Row]:
    """The rows at these positions, in order."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM log WHERE position = ANY(%b) ORDER BY position",  # noqa: S608
            (positions,),
        )
        return [Row._make(row) for row in cursor]


def iterate(
    connection: Connection, after: int = 0, upto: int | None = None, page: int = 5000
) -> Iterator[Row]:
    """Every row above `after`, page by page, in constant memory."""
    while rows := read_rows(connection, after, page, upto):
        yield from rows
        after = rows[-1].position


def listen(connection: Connection) -> None:
    """Has this connection told of appends. It must be in autocommit mode."""
    driver_of(connection).execute(f"LISTEN {CHANNEL}")


def wait_for_append(connection: Connection, timeout: float) -> bool:
    """Waits at most `timeout` seconds for an append; true when there was one."""
    return any(True for _ in driver_of(connection).notifies(timeout=timeout, stop_after=1))
