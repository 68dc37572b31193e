"""How far each import has come. It moves in the transaction that appends the rows, so neither runs ahead."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from adapters.log.read import driver_of

_COLUMNS = "id::text, feed, name, started_at, number, taken, known, rejected, rejected_bytes, done"


class Progress(NamedTuple):
    """One import. Up to the row with `number`, all is done: `taken` rows are new in the log, `known` were in it,
    `rejected` are in the file beside it, whose first `rejected_bytes` count. `started_at` is in
    microseconds."""

    id: str
    feed: str
    name: str
    started_at: int
    number: int = 0
    taken: int = 0
    known: int = 0
    rejected: int = 0
    rejected_bytes: int = 0
    done: bool = False


def begin_import(connection: Connection, new: Progress) -> Progress:
    """The import as it stands, begun now where it is not known yet."""
    driver = driver_of(connection)
    driver.execute(
        "INSERT INTO import_progress VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        new,
    )
    row = driver.execute(f"SELECT {_COLUMNS} FROM import_progress WHERE id = %s", (new.id,)).fetchone()  # noqa: S608
    assert row is not None
    return Progress._make(row)


class ImportMovedError(Exception):
    """Another process runs the same import: whoever meets this stops, and its batch is not kept."""


def move_import(connection: Connection, before: Progress, at: Progress) -> None:
    """Moves the import on from `before`. Raises `ImportMovedError` where it does not stand there."""
    moved = driver_of(connection).execute(
        "UPDATE import_progress SET number = %s, taken = %s, known = %s, rejected = %s, rejected_bytes = %s,"
        " done = %s WHERE id = %s AND number = %s AND NOT done",
        (at.number, at.taken, at.known, at.rejected, at.rejected_bytes, at.done, at.id, before.number),
    )
    if not moved.rowcount:
        raise ImportMovedError(f"{at.name}: another process imports it; wait for that one, or end it")
