"""What could not be taken in, kept aside with its reason until someone replays or drops it.

It holds the payload as it came, so it lies in a table of its own and not in the log, which nothing leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from psycopg.types.json import Jsonb
from sqlalchemy import Connection

from adapters.log.read import driver_of

_COLUMNS = "id::text, feed, code, reason, headers, body, received_at"


class Quarantined(NamedTuple):
    """One payload. `code` is for programs, `reason` for people and without personal data; `received_at` is in
    microseconds since the epoch."""

    id: str
    feed: str
    code: str
    reason: str
    headers: Mapping[str, str]
    body: bytes
    received_at: int


def put_aside(connection: Connection, item: Quarantined) -> None:
    """Keeps it. The same id once more changes nothing."""
    driver_of(connection).execute(
        "INSERT INTO quarantine (id, feed, code, reason, headers, body, received_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
        (*item[:4], Jsonb(dict(item.headers)), item.body, item.received_at),
    )


def put_asides(connection: Connection, feed: str | None = None, limit: int = 1_000) -> list[Quarantined]:
    """The oldest ones, of one feed or of all."""
    found = driver_of(connection).execute(
        f"SELECT {_COLUMNS} FROM quarantine WHERE %s::text IS NULL OR feed = %s"  # noqa: S608
        " ORDER BY received_at, id LIMIT %s",
        (feed, feed, limit),
    )
    return [Quarantined._make(row) for row in found]


def find_aside(connection: Connection, id: str) -> Quarantined | None:
    """The one with this id; `None` where there is none."""
    found = driver_of(connection).execute(f"SELECT {_COLUMNS} FROM quarantine WHERE id::text = %s", (id,))  # noqa: S608
    row = found.fetchone()
    return None if row is None else Quarantined._make(row)


def forget_aside(connection: Connection, id: str) -> bool:
    """Removes it; true where it was there."""
    return driver_of(connection).execute("DELETE FROM quarantine WHERE id::text = %s", (id,)).rowcount > 0
