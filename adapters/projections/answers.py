"""What answers what was sent, who is held out, and what both say of a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from adapters.log.read import driver_of, read_positions
from domain.correlation import Sent
from domain.outbound import OUTCOME_VERSION, Outcome

#: Held by whoever ties engagement to messages, and by whoever erases: what is tied has been looked for before.
TYING: Final = 0x616E7377
#: Of each person, so many of the newest messages may be answered.
MOST_SENT: Final = 100

_outcome = msgspec.json.Decoder(Outcome).decode


class AnswerRow(NamedTuple):
    """One engagement that came in at `position`. `at` is the log's time in microseconds; `outbound` what it answers."""

    position: int
    outbound: str | None
    connection: str
    feed: str
    event: str
    at: int
    inferred: bool


class HeldOut(NamedTuple):
    """Somebody whom a connection is not told of, so that it can be compared with."""

    connection: str
    profile: str
    at: int


def save_answers(connection: Connection, answers: Iterable[AnswerRow], held: Iterable[HeldOut]) -> None:
    """Saved twice is saved once."""
    with driver_of(connection).cursor() as cursor:
        cursor.executemany(
            "INSERT INTO answer VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", list(answers)
        )
        cursor.executemany("INSERT INTO held_out VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", list(held))


def sent_to(
    connection: Connection,
    nodes: Mapping[str, str],
    brings: Mapping[str, tuple[frozenset[str], frozenset[str]]],
) -> dict[str, list[Sent]]:
    """Profile → the newest of what it was sent. `nodes` leads each node of these people to its profile; `brings` says
    of a connection's name which events come back of it, by feeds of which formats."""
    with driver_of(connection).cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT id::text, connection, batch::text, position, profile::text FROM ("
            " SELECT *, row_number() OVER (PARTITION BY profile ORDER BY position DESC) AS newest FROM outbound"
            " WHERE profile = ANY(%b::text[]::uuid[]) AND connection = ANY(%b)) AS sent WHERE newest <= %b",
            (list(nodes), list(brings), MOST_SENT),
        ).fetchall()
    times = _times(connection, [row[3] for row in rows])
    references = _references(connection, [row[0] for row in rows])
    found: dict[str, list[Sent]] = {}
    for id, name, batch, position, profile in rows:
        events, feeds = brings[name]
        one = Sent(id, name, batch, times.get(position, 0), references.get(id, ""), events, feeds)
        found.setdefault(nodes[profile], []).append(one)
    return found


def _times(connection: Connection, positions: Collection[int]) -> dict[int, int]:
    """The log's times of rows that are in the database."""
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute("SELECT position, recorded_at FROM log WHERE position = ANY(%b)", (list(positions),))
        return dict(cursor.fetchall())


def _references(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """The destinations' own ids of what was sent."""
    with driver_of(connection).cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT position FROM log_stream WHERE stream_id = ANY(%b::text[]::uuid[]) AND version = %b",
            (list(ids), OUTCOME_VERSION),
        ).fetchall()
    outcomes = [_outcome(row.state) for row in read_positions(connection, [place for (place,) in rows])]
    return {one.id: one.reference for one in outcomes if one.reference}


def funnel(connection: Connection, name: str) -> dict[str, Any]:
    """Of a connection: outbound records by status, the people whom they are of, and those answered, by event."""
    driver = driver_of(connection)
    statuses = driver.execute(
        "SELECT status, count(*) FROM outbound WHERE connection = %s GROUP BY 1 ORDER BY 1", (name,)
    ).fetchall()
    people = driver.execute(
        "SELECT count(DISTINCT i.profile) FROM outbound o JOIN identity i ON i.node = o.profile WHERE connection = %s",
        (name,),
    ).fetchone()
    events = driver.execute(
        "SELECT event, count(DISTINCT outbound), count(DISTINCT outbound) FILTER (WHERE inferred) FROM answer"
        " WHERE connection = %s AND outbound IS NOT NULL GROUP BY 1 ORDER BY 1",
        (name,),
    ).fetchall()
    answered = driver.execute(
        "SELECT count(DISTINCT outbound) FROM answer WHERE connection = %s", (name,)
    ).fetchone()
    return {
        "records": dict(statuses),
        "people": people[0] if people else 0,
        "answered": answered[0] if answered else 0,
        "answers": {event: {"records": count, "inferred": inferred} for event, count, inferred in events},
    }


def orphans(connection: Connection, feed: str) -> int:
    """Engagement that came in by a feed and answers nothing that is known."""
    row = (
        driver_of(connection)
        .execute("SELECT count(*) FROM answer WHERE feed = %s AND outbound IS NULL", (feed,))
        .fetchone()
    )
    return row[0] if row else 0


#: Of each connection, the times of so many of the newest records are looked at.
_NEWEST: Final = (
    "newest AS (SELECT id, position, profile FROM outbound WHERE connection = %(of)s"
    " ORDER BY position DESC LIMIT 10000)"
)
_SPREAD: Final = "SELECT count(*), percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY took) FROM took"
_DELIVERED: Final = (
    " JOIN log_stream s ON s.stream_id = n.id AND s.version = 1000 JOIN log d ON d.position = s.position"
    " AND d.topic = 'outbound.delivered'"
)
_TIMES: Final = {
    "sent_to_delivered": (
        f"WITH {_NEWEST}, took AS (SELECT d.recorded_at - r.recorded_at AS took FROM newest n"  # noqa: S608
        f" JOIN log r ON r.position = n.position{_DELIVERED}) {_SPREAD}"
    ),
    "delivered_to_answered": (
        f"WITH {_NEWEST}, first AS (SELECT outbound, min(at) AS at FROM answer WHERE connection = %(of)s GROUP BY 1),"  # noqa: S608
        f" took AS (SELECT greatest(a.at - d.recorded_at, 0) AS took FROM newest n{_DELIVERED}"
        f" JOIN first a ON a.outbound = n.id) {_SPREAD}"
    ),
}
_TO_NEXT: Final = (
    f"WITH {_NEWEST}, said AS (SELECT i.profile, a.at FROM answer a JOIN outbound o ON o.id = a.outbound"  # noqa: S608
    " JOIN identity i ON i.node = o.profile WHERE a.connection = %(after)s),"
    " took AS (SELECT r.recorded_at - max(said.at) AS took FROM newest n JOIN log r ON r.position = n.position"
    " JOIN identity i ON i.node = n.profile JOIN said ON said.profile = i.profile AND said.at <= r.recorded_at"
    f" GROUP BY n.id, r.recorded_at) {_SPREAD}"
)


def times_of(connection: Connection, name: str) -> dict[str, dict[str, float]]:
    """How long what a connection sent takes to be delivered, and then to be answered, in seconds."""
    return {
        what: spread for what, query in _TIMES.items() if (spread := _spread(connection, query, {"of": name}))
    }


def time_between(connection: Connection, before: str, name: str) -> dict[str, float]:
    """How long after a person's last answer to one connection the next one's record follows, in seconds."""
    return _spread(connection, _TO_NEXT, {"of": name, "after": before})


def _spread(connection: Connection, query: str, values: dict[str, str]) -> dict[str, float]:
    row = driver_of(connection).execute(query, values).fetchone()
    if row is None or not row[0]:
        return {}
    half, most = (float(value) / 1_000_000 for value in row[1])
    return {"records": row[0], "p50": half, "p99": most}


def groups(connection: Connection, name: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The people whom a connection was told of, and those held out, each with the log's time of the first time."""
    driver = driver_of(connection)
    told = driver.execute(
        "SELECT i.profile::text, min(r.recorded_at) FROM outbound o JOIN identity i ON i.node = o.profile"
        " JOIN log r ON r.position = o.position WHERE o.connection = %s GROUP BY 1",
        (name,),
    ).fetchall()
    held = driver.execute(
        "SELECT i.profile::text, min(h.at) FROM held_out h JOIN identity i ON i.node = h.profile"
        " WHERE h.connection = %s GROUP BY 1",
        (name,),
    ).fetchall()
    return told, held
