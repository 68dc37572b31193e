"""What could not be taken in, kept aside with its reason until someone replays or drops it.

It holds the payload as it came, so it lies in a table of its own and not in the log, which nothing leaves. Whose
data it is nobody knows, so each item is sealed under a key of its own, which goes when the item goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from adapters.keys.destruction import destroy_keys
from adapters.keys.keyring import keyring_of
from adapters.log.read import driver_of

_PLACE: Final = b"quarantine"
_decode = msgspec.msgpack.Decoder(tuple[dict[str, str], bytes]).decode

_COLUMNS = "id::text, feed, code, reason, headers, body, received_at, position"


class Quarantined(NamedTuple):
    """One payload. `code` is for programs, `reason` for people and without personal data; `received_at` is in
    microseconds since the epoch. Of a record that is in the log there is its `position` in place of a body."""

    id: str
    feed: str
    code: str
    reason: str
    headers: Mapping[str, str]
    body: bytes
    received_at: int
    position: int | None = None


def put_aside(connection: Connection, item: Quarantined) -> None:
    """Keeps it. The same id once more changes nothing."""
    kept = {item.id: msgspec.msgpack.encode((item.headers, item.body))}
    with driver_of(connection).cursor(binary=True) as cursor:
        sealed = keyring_of(connection).seal_states(cursor, _PLACE, kept)
        cursor.execute(
            "INSERT INTO quarantine (id, feed, code, reason, body, received_at, position)"
            " VALUES (%b::text::uuid, %b, %b, %b, %b, %b, %b) ON CONFLICT (id) DO NOTHING",
            (*item[:4], sealed[item.id], item.received_at, item.position),
        )


def put_asides(connection: Connection, feed: str | None = None, limit: int = 1_000) -> list[Quarantined]:
    """The oldest ones, of one feed or of all, that were not replayed."""
    return _opened(
        connection,
        f"SELECT {_COLUMNS} FROM quarantine WHERE replayed_at IS NULL AND (%b::text IS NULL OR feed = %b)"  # noqa: S608
        " ORDER BY received_at, id LIMIT %b",
        (feed, feed, limit),
    )


def find_aside(connection: Connection, id: str) -> Quarantined | None:
    """The one with this id; `None` where there is none."""
    found = _opened(connection, f"SELECT {_COLUMNS} FROM quarantine WHERE id::text = %b", (id,))  # noqa: S608
    return found[0] if found else None


def note_replayed(connection: Connection, id: str, at: int) -> None:
    """A record of the log was handed in again (microseconds). That it was left out where it stands remains so."""
    driver_of(connection).execute(
        "UPDATE quarantine SET replayed_at = %s WHERE id::text = %s AND position IS NOT NULL", (at, id)
    )


def left_out(connection: Connection, after: int, upto: int) -> set[int]:
    """The positions above `after` and up to `upto` whose records the pipeline has left out."""
    rows = driver_of(connection).execute(
        "SELECT position FROM quarantine WHERE position > %s AND position <= %s", (after, upto)
    )
    return {position for (position,) in rows}


def forget_aside(connection: Connection, id: str) -> bool:
    """Removes it and its key; true where it was there."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute("DELETE FROM quarantine WHERE id::text = %b", (id,))
        there = cursor.rowcount > 0
        if there:
            destroy_keys(cursor, [id])
    return there


def _opened(connection: Connection, query: str, values: tuple[object, ...]) -> list[Quarantined]:
    with driver_of(connection).cursor(binary=True) as cursor:
        rows = cursor.execute(query, values).fetchall()
        sealed = {row[0]: row[5] for row in rows if row[4] is None}
        opened = keyring_of(connection).open_states(cursor, _PLACE, sealed) if sealed else {}
    items = [Quarantined._make(row) for row in rows]
    return [item if item.id not in opened else _whole(item, opened[item.id]) for item in items]


def _whole(item: Quarantined, kept: bytes) -> Quarantined:
    headers, body = _decode(kept)
    return item._replace(headers=headers, body=body)
