"""A connection's replay, done by the pipeline at its position, in batches that are a transaction each.

The pipeline stays where it is until it is done. A crash anywhere goes on with the batch that was not saved: how far it
has come is in checkpoints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection

from adapters.log.read import read_events, read_head, read_sources, read_topics
from adapters.projections.checkpoint import drop_checkpoints, find_checkpoint, put_checkpoint, read_checkpoint
from adapters.projections.people import load_graph, load_profiles
from adapters.quarantine import left_out
from domain.batches import Batches
from domain.coalescing import Other, superseding
from domain.derived import event_name, outbound
from domain.echoes import came_through
from domain.forwarding import EVERY, Forwarding, Happening, forward
from domain.history import anchor
from domain.outbound import Outbound
from domain.profiles import Profile, consented
from domain.records import Entry, Record, Row, dig, node_id, record_of
from domain.replaying import ERASED, NO_LONGER, TOLD_AGAIN
from domain.replays import decode_replay, replayed
from domain.routing import Destination, Routed
from domain.runs import Run, complete_entry
from domain.set_aside import reason_of
from domain.state import Plan
from runtime.backlog import around_in
from runtime.bulk import RAN

REPLAYING: Final = "replaying"
_AFTER: Final = "replaying.after"
_RECORDS: Final = "replaying.records"
#: Rows of the log that are looked at in one transaction.
_PAGE: Final = 2_000
NOBODY: Final = "nobody is known by what the record names"
OVERTAKEN: Final = "overtaken by a later one"
UNREADABLE: Final = "the record could not be applied"
_EVENTS: Final = ("track.", "page.", "screen.")

_requested = msgspec.json.Decoder(Outbound).decode
_body = msgspec.json.Decoder().decode
Follow = Callable[[Connection, Sequence[Entry]], object]

log = structlog.get_logger("pipeline")


class Replay(NamedTuple):
    """The replay at a position, at the log's time `at` (microseconds), of what stands at `since` or behind it."""

    connection: str
    since: int
    position: int
    at: int


class Page(NamedTuple):
    """What comes of the next rows, up to the position `last`, and how many of them are passed over by the reason."""

    last: int
    records: list[Outbound]
    passed_over: Counter[str]


def begin_replaying(connection: Connection, row: Row) -> None:
    """Nothing of the replay at this row is done yet."""
    put_checkpoint(connection, REPLAYING, row.position)
    put_checkpoint(connection, _AFTER, max(decode_replay(row.state).since - 1, 0))
    put_checkpoint(connection, _RECORDS, 0)


def replaying(connection: Connection, row: Row) -> bool:
    """Whether the replay at this row has been begun."""
    return find_checkpoint(connection, REPLAYING) == row.position


def replay_on(connection: Connection, plan: Plan, row: Row, follow: Follow) -> bool:
    """Does the next batch; true once nothing is left to do."""
    said = decode_replay(row.state)
    replay = Replay(said.connection, said.since, row.position, row.recorded_at)
    destination = plan.destination(replay.connection)
    page = None
    if destination is None or why_not(destination):
        log.warning(
            "a replay of a connection that has none", connection=replay.connection, position=row.position
        )
    else:
        page = next_page(connection, plan, destination, replay, read_checkpoint(connection, _AFTER))
    if destination is not None and page is not None:
        if page.records:
            batches = Batches(destination.max_batch)
            follow(connection, [batches.add(one) for one in page.records])
        put_checkpoint(connection, _AFTER, page.last)
        put_checkpoint(connection, _RECORDS, read_checkpoint(connection, _RECORDS) + len(page.records))
        return False
    records = read_checkpoint(connection, _RECORDS)
    if destination is not None and destination.by_runs and "complete" in destination.changes:
        run = Run(replay.connection, replay.position, replay.at)
        follow(connection, [complete_entry(destination, run, records)])
    log.info("replay done", connection=replay.connection, position=replay.position, records=records)
    drop_checkpoints(connection, (REPLAYING, _AFTER, _RECORDS))
    put_checkpoint(connection, RAN, read_head(connection).position)
    return True


def why_not(destination: Destination) -> str:
    """Why a connection cannot be replayed, empty where it can."""
    if destination.channel:
        return (
            f"counts for channel '{destination.channel}': what reaches people is not told again at large; send single"
            " records by `roundtrip deliveries replay`"
        )
    if destination.mode == "snapshot":
        return "sends all of the audience by each run: `roundtrip connection run` does it now"
    if destination.mode == "diff":
        return "sends differences by runs; declare it under another name, and its first run tells of all"
    return ""


def next_page(
    connection: Connection, plan: Plan, destination: Destination, replay: Replay, after: int
) -> Page | None:
    """What comes of the next rows above `after`; `None` where there are no more. Nothing is saved."""
    if after >= replay.position - 1:
        return None
    forwarding = plan.forwardings.by(replay.connection)
    if forwarding is None:
        return _changes(connection, destination, replay, after)
    return _events(connection, plan, forwarding, replay, after)


def _events(
    connection: Connection, plan: Plan, forwarding: Forwarding, replay: Replay, after: int
) -> Page | None:
    """Events that came, with what is known now of whoever they are known to be of now."""
    end = replay.position - 1
    names = {name for name, _ in forwarding.events}
    if EVERY in names:
        rows, last = read_sources(connection, after, _PAGE, end)
    else:
        rows = read_events(connection, after, _PAGE, end, names)
        last = rows[-1].position if len(rows) == _PAGE else end
    rows = [row for row in rows if row.topic.startswith(_EVENTS)]
    passed: Counter[str] = Counter()
    apart = left_out(connection, after, last)
    heard = [
        found
        for row in rows
        if (found := _heard(plan, forwarding, row, row.position in apart, passed)) is not None
    ]
    graph = load_graph(connection, {node_id(i) for _, record, _ in heard for i in record.identifiers})
    profiles = load_profiles(connection, set(graph.values()))
    destination = forwarding.destination
    records = []
    for row, record, happening in heard:
        profile = profiles.get(graph.get(anchor(record, row.subject or "", plan.rules) or "", ""))
        if profile is None:
            passed[NOBODY] += 1
            continue
        traits = plan.audiences.values(destination.traits, profile.conditions, replay.at)
        through = came_through(profile, plan.answered.get(happening.feed, ()))
        decision = forward(profile, forwarding, happening._replace(came_through=through), traits)
        if not isinstance(decision, Routed):
            passed[decision.reason] += 1
            continue
        [entry] = outbound([(row.position, profile.id, decision)])
        run = replay.position if destination.by_runs else 0
        records.append(replayed(_requested(entry.state), replay.position, run=run))
    return Page(last, records, passed)


def _heard(
    plan: Plan, forwarding: Forwarding, row: Row, apart: bool, passed: Counter[str]
) -> tuple[Row, Record, Happening] | None:
    """The event in this row, where the connection listens to it."""
    if row.erased:
        # By its topic alone: of which feed it was, and with what, nobody knows any more.
        passed[ERASED] += 1
        return None
    try:
        record = plan.rules.understood(record_of(row.state))
        name, at = event_name(record), min(record.occurred_at, row.recorded_at)
        properties = dig(_body(record.body), record.properties_at) | record.properties
    except Exception as error:  # noqa: BLE001
        log.warning("a record is passed over", position=row.position, reason=reason_of(error))
        apart, record = True, None
    if apart or record is None:
        passed[UNREADABLE] += 1
        return None
    happening = Happening(record.feed, name, at, properties)
    return (row, record, happening) if forwarding.listens_to(happening) else None


def _changes(connection: Connection, destination: Destination, replay: Replay, after: int) -> Page | None:
    """Changes of an audience that were requested, as they stand now; of several with the same fields the last one."""
    end = replay.position - 1
    rows = read_topics(connection, after, _PAGE, end, ["outbound.requested"])
    last = rows[-1].position if len(rows) == _PAGE else end
    passed: Counter[str] = Counter()
    # Whose a request was that nobody can read is not known.
    asked = [_requested(row.state) for row in rows if not row.erased and row.subject != row.stream_id]
    asked = [
        one for one in asked if one.connection == destination.connection and one.change in ("add", "remove")
    ]
    around = around_in(connection, destination.connection, asked)
    graph = load_graph(connection, {one.profile for one in asked})
    profiles = load_profiles(connection, set(graph.values()))
    records = []
    for one in asked:
        profile = profiles.get(graph.get(one.profile, ""))
        later = around[one.id].after if one.id in around else ()
        found = ERASED if profile is None else _stands(destination, one, profile, later)
        if isinstance(found, str):
            passed[found] += 1
        elif profile is not None:
            records.append(replayed(found, replay.position, profile=profile.id, purpose=destination.purpose))
    return Page(last, records, passed)


def _stands(
    destination: Destination, one: Outbound, profile: Profile, later: Sequence[Other]
) -> Outbound | str:
    """A change as it holds now, or why it is not told again."""
    told = profile.routed.get(destination.connection)
    if superseding(one, [other._replace(status=None) for other in later]):
        return OVERTAKEN
    if one.change == "remove":
        return TOLD_AGAIN if told == one.fields else one
    if told is None or destination.audience not in profile.memberships:
        return NO_LONGER
    if later and told != one.fields:
        return OVERTAKEN
    if not consented(profile, destination.purpose, destination.policies):
        return f"no consent to '{destination.purpose}'"
    return msgspec.structs.replace(one, audience=destination.audience, fields=told)


def count(
    connection: Connection, plan: Plan, destination: Destination, replay: Replay
) -> tuple[Counter[str], Counter[str]]:
    """How many records a replay would send, by their change, and how many it would pass over, by the reason."""
    changes: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    after = max(replay.since - 1, 0)
    while (page := next_page(connection, plan, destination, replay, after)) is not None:
        changes.update(one.change for one in page.records)
        passed.update(page.passed_over)
        after = page.last
    return +changes, +passed
