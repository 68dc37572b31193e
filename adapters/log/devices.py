"""The door's memory of who was last known on which device: a table that says where in the log that stands.

It holds no identifier; the row at that position does, and nobody can read it once the user was erased.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection

from adapters.log.read import read_positions
from domain.identity_rules import Rules, entry_for, leader_of
from domain.records import RECORD_TYPES, Entry, Record, record_of
from domain.shared_devices import LastUser, devices_of, learned, presumed


def led_by_last_users(
    connection: Connection,
    cursor: psycopg.Cursor[Any],
    entries: Sequence[Entry],
    first: int,
    recorded_at: int,
    rules: Rules,
) -> list[Entry]:
    """The entries that will stand from the position `first` on, each record without a user led by the user last known
    on its device. Notes who is known by them. The head's lock has to be held."""
    records = {
        number: record_of(entry.state)
        for number, entry in enumerate(entries)
        if entry.version == 1 and entry.topic.partition(".")[0] in RECORD_TYPES
    }
    last = _last_users(connection, cursor, records.values(), rules)
    led, fresh = list(entries), dict[str, LastUser]()
    for number, record in records.items():
        found = presumed(record, last, rules)
        if found is not record:
            led[number] = entry_for(found, rules)
        now = learned(record, first + number, recorded_at, last, rules)
        fresh |= now
        last |= now
    if fresh:
        cursor.execute(
            "INSERT INTO device_user (device, occurred_at, position, subject)"
            " SELECT * FROM unnest(%b::text[]::uuid[], %b::bigint[], %b::bigint[], %b::text[]::uuid[])"
            " ON CONFLICT (device) DO UPDATE SET occurred_at = excluded.occurred_at,"
            " position = excluded.position, subject = excluded.subject",
            (
                list(fresh),
                [user.occurred_at for user in fresh.values()],
                [user.position for user in fresh.values()],
                [entries[user.position - first].subject for user in fresh.values()],
            ),
        )
    return led


def forget_devices(cursor: psycopg.Cursor[Any], nodes: Collection[str]) -> None:
    """Forgets who was known on the devices of these, and where these were the users."""
    cursor.execute(
        "DELETE FROM device_user WHERE device = ANY(%b::text[]::uuid[]) OR subject = ANY(%b::text[]::uuid[])",
        (list(nodes), list(nodes)),
    )


def _last_users(
    connection: Connection, cursor: psycopg.Cursor[Any], records: Collection[Record], rules: Rules
) -> dict[str, LastUser]:
    devices = {node for record in records for node in devices_of(record, rules)}
    if not devices:
        return {}
    cursor.execute(
        "SELECT device::text, occurred_at, position FROM device_user WHERE device = ANY(%b::text[]::uuid[])",
        (list(devices),),
    )
    held = {device: (occurred_at, position) for device, occurred_at, position in cursor}
    users = {}
    for row in read_positions(connection, list({position for _, position in held.values()})):
        if not row.erased:
            leader = leader_of(record_of(row.state), row.subject or "", rules)
            users[row.position] = leader
    return {
        device: LastUser(leader, occurred_at, position)
        for device, (occurred_at, position) in held.items()
        if (leader := users.get(position)) is not None
    }
