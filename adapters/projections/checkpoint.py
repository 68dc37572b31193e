"""Up to which position each reader of the log has come."""

from __future__ import annotations

from sqlalchemy import Connection

from adapters.log.read import driver_of


class LostLeadError(Exception):
    """Another process has moved this checkpoint: whoever meets this must stop, its work is not saved."""


def read_checkpoint(connection: Connection, name: str) -> int:
    """The position, 0 for a reader that has not begun."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position FROM checkpoint WHERE name = %b", (name,)).fetchone()
    return row[0] if row else 0


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
