"""`trace`: the whole circle that an outbound record, or any row of a person, is part of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine

from adapters.connectors.connector import connector
from adapters.log.read import driver_of, read_head, read_positions
from adapters.projections.definitions import load_workspace
from adapters.projections.outbound import OUTCOME_TOPICS, outcome_positions
from adapters.projections.people import load_graph, load_profiles
from adapters.projections.subjects import positions_of
from domain.circle import Branch, Step, What, circle
from domain.correlation import Answer, Cause, Sent, cause_of
from domain.derived import event_name
from domain.messages import MembershipChanged, RoutingWithheld
from domain.outbound import Outbound, Outcome
from domain.profiles import nodes
from domain.records import RECORD_TYPES, Record, Row, dig, record_of
from domain.workspace import Workspace
from runtime.errors import TooMuchPastError, TraceError
from runtime.pairing import campaigns_of
from runtime.times import written

#: Rows of one person that are read for a trace.
MOST_ROWS: Final = 20_000
_INBOUND: Final = tuple(f"{kind}." for kind in RECORD_TYPES)

_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode
_changed = msgspec.json.Decoder(MembershipChanged).decode
_withheld = msgspec.json.Decoder(RoutingWithheld).decode
_decode = msgspec.json.Decoder().decode


def trace(engine: Engine, said: str) -> dict[str, Any]:
    """The tree that an outbound record (by id) or a row (by position) is in: what the person did, the audiences that
    followed, what was sent or why it was not, what became of it, how they answered, and so on. `place` is the position
    of what was asked for.

    Raises `TraceError`, `TooMuchPastError` and `IndexBehindError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        place = _place(connection, said)
        steps = list(_steps(connection, _rows(connection, place), load_workspace(connection)))
    found = circle(steps, place)
    if found is None:
        raise TraceError(
            f"position {place} is neither a record that came in, nor a membership, nor what was sent or withheld, nor"
            " what became of it"
        )
    return {"place": place, "circle": _shown(found, None)}


def _place(connection: Connection, said: str) -> int:
    if said.isdecimal() and len(said) < 19:
        return int(said)
    try:
        wanted = str(UUID(said))
    except ValueError:
        raise TraceError(
            f"'{said}' is neither an outbound record's id nor a position; `roundtrip deliveries list` and"
            " `roundtrip profile timeline` name them"
        ) from None
    row = (
        driver_of(connection)
        .execute("SELECT position FROM log_stream WHERE stream_id = %s ORDER BY version LIMIT 1", (wanted,))
        .fetchone()
    )
    if row is None:
        raise TraceError(f"there is no record '{wanted}'; `roundtrip deliveries list` names what was sent")
    return int(row[0])


def _rows(connection: Connection, place: int) -> list[Row]:
    """Every row of the person whose row stands at this place."""
    rows = read_positions(connection, [place])
    if rows and rows[0].topic in OUTCOME_TOPICS:
        first = (
            driver_of(connection)
            .execute(
                "SELECT position FROM log_stream WHERE stream_id = %s AND version = 1", (rows[0].stream_id,)
            )
            .fetchone()
        )
        rows = read_positions(connection, [first[0]]) if first else []
    if not rows or rows[0].subject is None:
        raise TraceError(
            f"position {place} is nobody's; `roundtrip profile timeline KIND:VALUE` names a person's"
        )
    if rows[0].erased:
        raise TraceError(f"position {place} is of a person who was erased")
    whose = rows[0].subject
    profiles = load_profiles(connection, set(load_graph(connection, [whose]).values()))
    theirs = {whose}.union(*({id, *nodes(profile)} for id, profile in profiles.items()))
    end = read_head(connection).position + 1
    places = {
        *positions_of(connection, theirs, before=end, limit=MOST_ROWS + 1),
        *outcome_positions(connection, theirs, end, MOST_ROWS + 1),
    }
    if len(places) > MOST_ROWS:
        raise TooMuchPastError(
            f"this person has more than {MOST_ROWS:,} records; `roundtrip profile timeline` shows them by page"
        )
    return read_positions(connection, sorted(places))


def _steps(connection: Connection, rows: list[Row], workspace: Workspace | None) -> Iterator[Step]:
    sent = _sent(rows, workspace)
    connections = {one.id: one.connection for one in sent.values()}
    campaigns = campaigns_of(workspace)
    for row in rows:
        if row.erased:
            continue
        at, place = row.recorded_at, row.position
        if row.topic.startswith(_INBOUND):
            try:
                record = record_of(row.state)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            cause = _answered(row, record, sent, workspace, campaigns)
            told: dict[str, Any] = {"feed": record.feed, "occurred_at": written(record.occurred_at)}
            if cause is not None:
                told |= {"answers": cause.outbound, "by": cause.by, "inferred": cause.inferred}
            name = event_name(record) or record.type
            yield Step("record", place, at, name, outbound=cause.outbound if cause else "", told=told)
        elif row.topic in ("audience.entered", "audience.exited"):
            change = _changed(row.state)
            what: What = "entered" if row.topic == "audience.entered" else "exited"
            told = {"because": change.because} if change.because else {}
            yield Step(
                what, place, at, change.audience, change.cause, change.audience, change.because, told=told
            )
        elif row.topic == "outbound.requested":
            out = _requested(row.state)
            told = {"id": out.id, "change": out.change} | ({"event": out.event} if out.event else {})
            yield Step("sent", place, at, out.connection, out.cause, out.audience, outbound=out.id, told=told)
        elif row.topic == "routing.withheld":
            kept = _withheld(row.state)
            told = {"reason": kept.reason}
            yield Step("withheld", place, at, kept.connection, kept.cause, kept.audience, told=told)
        elif row.topic in OUTCOME_TOPICS:
            outcome = _outcome(row.state)
            told = {
                name: value
                for name in ("reason", "reference", "attempts")
                if (value := getattr(outcome, name))
            }
            name = f"{outcome.status} by {connections.get(outcome.id, outcome.connection)}"
            yield Step("outcome", place, at, name, outbound=outcome.id, told=told)


def _sent(rows: list[Row], workspace: Workspace | None) -> dict[int, Sent]:
    """What the person was sent, by position, with the ids that its destinations told."""
    references = {
        outcome.id: outcome.reference
        for row in rows
        if row.topic in OUTCOME_TOPICS and not row.erased
        for outcome in (_outcome(row.state),)
    }
    declared = {} if workspace is None else workspace.connections
    found = {}
    for row in rows:
        if row.topic == "outbound.requested" and not row.erased:
            out = _requested(row.state)
            wire = connector(declared[out.connection].connector) if out.connection in declared else None
            found[row.position] = Sent(
                out.id,
                out.connection,
                out.batch,
                row.recorded_at,
                references.get(out.id, ""),
                wire.engagement if wire else frozenset(),
                frozenset(wire.feeds) if wire else frozenset(),
            )
    return found


def _answered(
    row: Row,
    record: Record,
    sent: Mapping[int, Sent],
    workspace: Workspace | None,
    campaigns: Mapping[str, str],
) -> Cause | None:
    """What of all that was sent before this record is answered by it."""
    if record.type != "track":
        return None
    format = ""
    if workspace is not None and record.feed in workspace.feeds:
        format = workspace.feeds[record.feed].format
    properties = dig(_decode(record.body), record.properties_at) | record.properties
    answer = Answer(record.name, properties, format, row.recorded_at)
    return cause_of(answer, (one for place, one in sent.items() if place < row.position), campaigns)


def _shown(branch: Branch, before: int | None) -> dict[str, Any]:
    step = branch.step
    found: dict[str, Any] = {
        "what": step.what,
        "name": step.name,
        "position": step.position,
        "at": written(step.at),
    }
    if before is not None:
        found["after_seconds"] = (step.at - before) / 1_000_000
    if branch.further:
        found["further"] = True
    return found | dict(step.told) | {"then": [_shown(one, step.at) for one in branch.then]}
