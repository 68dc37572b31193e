"""What an erasure does beside the projections: keys go, and payloads in quarantine that name the person."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from adapters.keys.destruction import destroy_keys
from adapters.log.devices import forget_devices
from adapters.log.driver import driver_of
from adapters.quarantine import forget_aside, put_asides
from domain.erasure import Erasure
from domain.records import Row

#: Items of the quarantine that are looked through.
_ITEMS = 100_000


def destroy_person(connection: Connection, erasure: Erasure, last: int) -> None:
    """Destroys every key of the person. All rows up to `last`, the log's end, are erased by it.

    What is in quarantine is nobody's yet, and goes where it holds one of the person's identifiers.
    """
    values = [value.encode() for value in erasure.values]
    for item in put_asides(connection, limit=_ITEMS) if values else ():
        if any(value in item.body for value in values):
            forget_aside(connection, item.id)
    with driver_of(connection).cursor(binary=True) as cursor:
        destroy_keys(cursor, erasure.nodes, erased_at=last, gone_before=erasure.position)
        forget_devices(cursor, erasure.nodes)
        cursor.execute("DELETE FROM held_out WHERE profile = ANY(%b::text[]::uuid[])", (list(erasure.nodes),))


def forget_deletions(connection: Connection, outcomes: Sequence[Row]) -> None:
    """Destroys the keys of outbound records that asked a destination to delete somebody, and have an outcome."""
    if not outcomes:
        return
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT subject::text FROM subject_key WHERE subject = ANY(%b::text[]::uuid[]) AND wrapped IS NOT NULL",
            ([row.stream_id for row in outcomes],),
        )
        if found := [subject for (subject,) in cursor]:
            destroy_keys(cursor, found, erased_at=outcomes[-1].position)
