"""What goes out: each record is in one of delivered, dead, suppressed and pending, and people's order is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from sqlalchemy import Connection, Engine

from adapters.bus.streams import IN, OUT
from adapters.log.read import driver_of, read_positions
from adapters.projections.checkpoint import read_checkpoint
from domain.outbound import OUTCOME_VERSION, Outbound
from runtime.doctor.finding import Finding
from runtime.pipeline import CHECKPOINT as PIPELINE
from runtime.relay import CHECKPOINT as RELAY

_UNDONE_BY: Final = {"add": "remove", "remove": "add"}
_request = msgspec.json.Decoder(Outbound).decode


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(list[_Named]).decode


async def examine_pending(engine: Engine, js: JetStreamContext) -> Finding:
    """Whether what is pending is on its way: not yet relayed, in a work queue, or with an outcome in the log (I5)."""
    pending = _pending(engine)
    # In the order in which a record goes: what leaves the one meanwhile is in the other, or in the log.
    on_the_way = await _waiting(js, OUT, "roundtrip.out.*") | await _waiting(js, IN, "roundtrip.outcome.*")
    lost = _still_open(engine, pending - on_the_way)
    wrong = ""
    if lost:
        wrong = (
            f"{len(lost):,} records have no outcome and wait nowhere, as {min(lost)}: NATS has lost them, and the relay"
            " sends them again once its queues are empty"
        )
    return Finding("I5", "what is pending is on its way", f"{len(pending):,} pending", wrong)


def examine_closings(engine: Engine) -> Finding:
    """Whether each outbound record's status is that of its one outcome in the log (I5)."""
    query = (
        "SELECT o.id::text, o.status, l.topic, count(*) OVER () FROM outbound o"
        " LEFT JOIN log_stream s ON s.stream_id = o.id AND s.version = %s AND s.position <= %s"
        " LEFT JOIN log l ON l.position = s.position"
        " WHERE (o.status = 'pending') <> (s.position IS NULL) OR 'outbound.' || o.status <> l.topic LIMIT 1"
    )
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        at = read_checkpoint(connection, PIPELINE)
        [count] = _rows(connection, "SELECT count(*) FROM outbound")[0]
        found = _rows(connection, query, (OUTCOME_VERSION, at))
    wrong = ""
    for id, status, topic, several in found:
        said = topic or ("no outcome" if status != "pending" else "an outcome")
        wrong = f"{several:,} differ from the log, as {id}: it is '{status}', and the log has {said}"
    return Finding("I5", "one outcome per outbound record", f"{count:,} outbound records", wrong)


def examine_order(engine: Engine, progress: Callable[[int, int], None]) -> Finding:
    """Whether each connection delivered what puts a person into an audience and what takes them out of it, by the same
    fields, in the order in which that was requested (I7).

    Whatever else was lost may be sent again behind later records: docs/decisions/0230-coalescing.md.
    """
    query = (
        "SELECT profile::text, connection FROM (SELECT o.profile, o.connection, s.position,"
        " max(s.position) OVER (PARTITION BY o.profile, o.connection ORDER BY o.position"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS latest FROM outbound o"
        " JOIN log_stream s ON s.stream_id = o.id AND s.version = %s"
        " WHERE o.status = 'delivered' AND o.profile IS NOT NULL) x WHERE position < latest GROUP BY 1, 2 ORDER BY 1, 2"
    )
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        [count] = _rows(connection, "SELECT count(*) FROM outbound WHERE status = 'delivered'")[0]
        out_of_turn = _rows(connection, query, (OUTCOME_VERSION,))
        wrong = ""
        for done, (profile, name) in enumerate(out_of_turn, 1):
            if wrong := _overtaken(connection, profile, name):
                break
            progress(done, len(out_of_turn))
    return Finding("I7", "order per person and connection", f"{count:,} delivered", wrong)


def _overtaken(connection: Connection, profile: str, name: str) -> str:
    """The first change that was delivered after a later one that undoes it; empty where there is none."""
    query = (
        "SELECT o.position, s.position FROM outbound o JOIN log_stream s ON s.stream_id = o.id AND s.version = %s"
        " WHERE o.profile = %s AND o.connection = %s AND o.status = 'delivered'"
    )
    delivered = dict(_rows(connection, query, (OUTCOME_VERSION, profile, name)))
    #: Of what (audience and fields) and which change → the one that was delivered last, of those looked at so far.
    last: dict[tuple[bytes, str], int] = {}
    for row in read_positions(connection, sorted(delivered)):
        one = None if row.erased else _request(row.state)
        if one is None or one.change not in _UNDONE_BY:
            continue
        about = msgspec.json.encode([one.audience, one.fields], order="sorted")
        before = last.get((about, _UNDONE_BY[one.change]))
        if before is not None and delivered[before] > delivered[row.position]:
            return (
                f"'{name}' delivered what was requested at position {before} after what was at {row.position},"
                f" of profile {profile}"
            )
        mine = last.get((about, one.change), row.position)
        last[about, one.change] = max(mine, row.position, key=delivered.__getitem__)
    return ""


def _pending(engine: Engine) -> set[str]:
    """What the relay has put onto the bus, and has no outcome as far as the pipeline knows."""
    query = "SELECT id::text FROM outbound WHERE status = 'pending' AND position <= %s"
    with engine.connect() as connection:
        return {id for (id,) in _rows(connection, query, (read_checkpoint(connection, RELAY),))}


def _still_open(engine: Engine, ids: Collection[str]) -> set[str]:
    """Those of them that are pending even now, have no outcome in the log and can be sent: of an erased person nothing
    can."""
    query = (
        "SELECT position, id::text FROM outbound o WHERE id = ANY(%s::uuid[]) AND status = 'pending'"
        " AND NOT EXISTS (SELECT FROM log_stream WHERE stream_id = o.id AND version = %s)"
    )
    with engine.connect() as connection:
        found = dict(_rows(connection, query, (list(ids), OUTCOME_VERSION)))
        return {found[row.position] for row in read_positions(connection, sorted(found)) if not row.erased}


def _rows(connection: Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    return driver_of(connection).execute(query, values or None).fetchall()


async def _waiting(js: JetStreamContext, stream: str, subject: str) -> set[str]:
    """The ids of the outbound records that messages in a work queue name. They are looked at, and stay."""
    ids: set[str] = set()
    at = 1
    while True:
        try:
            message = await js.get_msg(stream, seq=at, subject=subject, next=True)
        except NotFoundError:
            return ids
        # Whoever takes what is none refuses it, and says so.
        with suppress(msgspec.DecodeError):
            ids |= {one.id for one in _named(message.data or b"")}
        assert message.seq is not None
        at = message.seq + 1
