"""Up to which position each reader of the log has come."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from adapters.log.read import driver_of


class LostLeadError(Exception):
    """Another process has moved this checkpoint: whoever meets this must stop, its work is not saved."""


def read_checkpoint(connection: Connection, name: str) -> int:
    """The position, 0 for a reader that has not begun."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position FROM checkpoint WHERE name = %b", (name,)).fetchone()
    return row[0] if row else 0


def find_checkpoint(connection: Connection, name: str) -> int | None:
    """The position, `None` where there is none."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position FROM checkpoint WHERE name = %b", (name,)).fetchone()
    return row[0] if row else None


def put_checkpoint(connection: Connection, name: str, position: int) -> None:
    """Sets a checkpoint, for whoever holds another that nobody else moves."""
    driver_of(connection).execute(
        "INSERT INTO checkpoint (name, position) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET position = excluded.position",
        (name, position),
    )


def drop_checkpoints(connection: Connection, names: Collection[str]) -> None:
    """Removes checkpoints that are of no more use."""
    driver_of(connection).execute("DELETE FROM checkpoint WHERE name = ANY(%s)", (list(names),))


def move_checkpoint(connection: Connection, name: str, expected: int, position: int) -> None:
    """Moves the checkpoint from `expected`. Raises `LostLeadError` where it stood elsewhere."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "INSERT INTO checkpoint (name, position) VALUES (%b, %b)"
            " ON CONFLICT (name) DO UPDATE SET position = excluded.position"
            " WHERE checkpoint.position = %b RETURNING 1",
            (name, position, expected),
        )
        if cursor.fetchone() is None:
            raise LostLeadError(f"checkpoint '{name}' is no longer at {expected}: another process leads")
