"""What became of each outbound record: a fold of the log's `outbound.*` rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from adapters.log.read import driver_of
from domain.erasure import ERASED, Asked, decode_erased
from domain.outbound import OUTCOME_VERSION, Outbound, Outcome
from domain.records import Row

_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode

OUTCOME_TOPICS = {f"outbound.{status}": status for status in ("delivered", "dead", "suppressed")}


def apply_outbound(connection: Connection, rows: Sequence[Row]) -> None:
    """Folds rows in log order. An outcome of a record nobody requested changes nothing.

    A request to delete somebody stands in the erasure's own record, since its row can soon be read by nobody.
    """
    requested = [
        (row.position, _requested(row.state))
        for row in rows
        if row.topic == "outbound.requested" and not row.erased and row.subject != row.stream_id
    ]
    asked = [one for row in rows if row.topic == ERASED for one in deletions(row)]
    outcomes = [_outcome(row.state) for row in rows if row.topic in OUTCOME_TOPICS]
    with driver_of(connection).cursor(binary=True) as cursor:
        if requested:
            cursor.execute(
                "INSERT INTO outbound (id, connection, batch, position, profile, status, attempts)"
                " SELECT *, 'pending', 0"
                " FROM unnest(%b::text[]::uuid[], %b::text[], %b::text[]::uuid[], %b::bigint[], %b::text[]::uuid[])"
                " ON CONFLICT (id) DO NOTHING",
                (
                    [outbound.id for _, outbound in requested],
                    [outbound.connection for _, outbound in requested],
                    [outbound.batch for _, outbound in requested],
                    [position for position, _ in requested],
                    [outbound.profile or None for _, outbound in requested],
                ),
            )
        for position, one in asked:
            cursor.execute(
                "INSERT INTO outbound (id, connection, batch, position, status, attempts)"
                " VALUES (%b::text::uuid, %b, %b::text::uuid, %b, 'pending', 0) ON CONFLICT (id) DO NOTHING",
                (one.id, one.connection, one.batch, position),
            )
        if outcomes:
            cursor.execute(
                "UPDATE outbound o SET status = n.status, attempts = n.attempts"
                " FROM unnest(%b::text[]::uuid[], %b::text[], %b::int[]) AS n(id, status, attempts)"
                " WHERE o.id = n.id AND o.status = 'pending'",
                (
                    [outcome.id for outcome in outcomes],
                    [outcome.status for outcome in outcomes],
                    [outcome.attempts for outcome in outcomes],
                ),
            )


def deletions(row: Row) -> list[tuple[int, Asked]]:
    """The requests to delete stand right before the erasure's record, in its order."""
    asked = decode_erased(row.state).asked
    return [(row.position - len(asked) + n, one) for n, one in enumerate(asked)]


def pending_positions(connection: Connection, upto: int) -> list[int]:
    """Where the outbound records stand that have no outcome yet and were requested at or before `upto`."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT position FROM outbound WHERE status = 'pending' AND position <= %b ORDER BY position",
            (upto,),
        )
        return [position for (position,) in cursor]


def count_by_status(connection: Connection) -> dict[str, dict[str, int]]:
    """Connection → status → how many outbound records."""
    with driver_of(connection).cursor() as cursor:
        cursor.execute("SELECT connection, status, count(*) FROM outbound GROUP BY 1, 2 ORDER BY 1, 2")
        counts: dict[str, dict[str, int]] = {}
        for connection_name, status, count in cursor:
            counts.setdefault(connection_name, {})[status] = count
    return counts


class Closing(NamedTuple):
    """How far one outbound record is: `pending`, or the status of its outcome. `position` is the request's."""

    id: str
    connection: str
    status: str
    attempts: int
    position: int


def find_outbound(
    connection: Connection, *, status: str = "", of: str = "", ids: Sequence[str] = (), limit: int
) -> list[Closing]:
    """At most `limit` outbound records, the newest first; what is empty is not asked for."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT id::text, connection, status, attempts, position FROM outbound"
            " WHERE (%b::text = '' OR status = %b) AND (%b::text = '' OR connection = %b)"
            " AND (%b::text[] = '{}' OR id::text = ANY(%b)) ORDER BY position DESC LIMIT %b",
            (status, status, of, of, list(ids), list(ids), limit),
        )
        return [Closing._make(row) for row in cursor]


def closed(connection: Connection, ids: list[str]) -> set[str]:
    """Those of the outbound records that have an outcome."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT id::text FROM outbound WHERE id = ANY(%b::text[]::uuid[]) AND status <> 'pending'", (ids,)
        )
        return {id for (id,) in cursor}


def having_outcome(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of the outbound records whose outcome is in the log, which may be ahead of what is folded."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT stream_id::text FROM log_stream WHERE stream_id = ANY(%b::text[]::uuid[]) AND version = %b",
            (list(ids), OUTCOME_VERSION),
        )
        return {id for (id,) in cursor}


def outcome_positions(
    connection: Connection, profiles: Collection[str], before: int, limit: int
) -> list[int]:
    """Where at most `limit` rows stand that say what became of what these profiles were sent: the newest first, below
    `before`."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT s.position FROM outbound o JOIN log_stream s ON s.stream_id = o.id AND s.version > 1"
            " WHERE o.profile = ANY(%b::text[]::uuid[]) AND s.position < %b ORDER BY s.position DESC LIMIT %b",
            (list(profiles), before, limit),
        )
        return [position for (position,) in cursor]


class Neighbour(NamedTuple):
    """Another outbound record of the same person by the same connection as the record `of`, and where it stands."""

    of: str
    id: str
    position: int
    status: str


def neighbours(
    connection: Connection, of: str, ids: Sequence[str], limit: int, *, later: bool
) -> list[Neighbour]:
    """At most `limit` of each of these records of a connection, in order: the next ones behind it or, not `later`, the
    person's first ones before it."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT asked.id::text, found.id::text, found.position, found.status FROM outbound asked"  # noqa: S608
            " CROSS JOIN LATERAL (SELECT id, position, status FROM outbound"
            " WHERE profile = asked.profile AND connection = asked.connection"
            f" AND position {'>' if later else '<'} asked.position ORDER BY position LIMIT %b) AS found"
            " WHERE asked.id = ANY(%b::text[]::uuid[]) AND asked.connection = %b ORDER BY 1, 3",
            (limit, list(ids), of),
        )
        return [Neighbour._make(row) for row in cursor]
