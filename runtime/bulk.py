"""A connection's run, done by the pipeline at its position, in batches that are a transaction each.

The pipeline stays where it is until it is done, while records go on coming in. A crash anywhere goes on with the batch
that was not saved. How far it has come is in checkpoints: which run it is, up to where what was gathered has been
sent, by the upper bits of their ids which people were looked at, and how many records that made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from adapters.log.read import driver_of, read_head, read_topics
from adapters.projections.checkpoint import drop_checkpoints, find_checkpoint, put_checkpoint, read_checkpoint
from adapters.projections.people import load_profiles, members_from, profiles_from, save
from domain.derived import gathered_topic, outbound
from domain.fold import Fold
from domain.outbound import Outbound
from domain.records import Entry, Row
from domain.routing import Destination, Routed
from domain.runs import Run, batches_of, complete_entry, decode_run, stream_of
from domain.state import Outcome, Plan, State

RUNNING: Final = "running"
#: Up to which position the log had come as the last run, or replay, ended: all that it asked for is not above.
RAN: Final = "ran"
_GATHERED: Final = "running.gathered"
_PEOPLE: Final = "running.people"
_RECORDS: Final = "running.records"
#: People who are looked at together, and at most in one transaction.
_PAGE: Final = 1_000
_PEOPLE_AT_ONCE: Final = 20_000
#: An id without those of its 128 bits that a checkpoint has no room for.
_SHIFT: Final = 65

_decode = msgspec.json.Decoder(Outbound).decode
Follow = Callable[[Connection, Sequence[Entry]], object]

log = structlog.get_logger("pipeline")


class Page(NamedTuple):
    """What a run makes of the next people: the last of their ids, and the fold that has looked at them."""

    last: str
    state: State
    fold: Fold


def begin_running(connection: Connection, row: Row) -> None:
    """Nothing of the run at this row is done yet."""
    put_checkpoint(connection, RUNNING, row.position)
    put_checkpoint(connection, _GATHERED, _run_before(connection, row))
    put_checkpoint(connection, _PEOPLE, -1)
    put_checkpoint(connection, _RECORDS, 0)


def running(connection: Connection, row: Row) -> bool:
    """Whether the run at this row has been begun."""
    return find_checkpoint(connection, RUNNING) == row.position


def run_on(connection: Connection, plan: Plan, row: Row, follow: Follow) -> bool:
    """Does the next batch; true once nothing is left to do."""
    run = Run(decode_run(row.state).connection, row.position, row.recorded_at)
    destination = plan.destination(run.connection)
    if destination is None or not destination.by_runs:
        log.warning("a run of a connection that has none", connection=run.connection, position=run.position)
    elif destination.mode == "batch":
        if _send_gathered(connection, destination, run, _run_before(connection, row), follow):
            return False
    elif _look_at_people(connection, plan, destination, run, follow):
        return False
    if destination is not None and "complete" in destination.changes:
        follow(connection, [complete_entry(destination, run, read_checkpoint(connection, _RECORDS))])
    log.info(
        "run done",
        connection=run.connection,
        position=run.position,
        records=read_checkpoint(connection, _RECORDS),
    )
    drop_checkpoints(connection, (RUNNING, _GATHERED, _PEOPLE, _RECORDS))
    put_checkpoint(connection, RAN, read_head(connection).position)
    return True


def _run_before(connection: Connection, row: Row) -> int:
    """Where the connection's run before this one is, 0 where there was none."""
    found = driver_of(connection).execute(
        "SELECT position FROM log_stream WHERE stream_id = %s AND version = %s",
        (stream_of(decode_run(row.state).connection), row.version - 1),
    )
    [position] = found.fetchone() or [0]
    return int(position)


def _send_gathered(
    connection: Connection, destination: Destination, run: Run, since: int, follow: Follow
) -> bool:
    """Sends the next events that were gathered since the run before; whether there were any."""
    rows = gathered_after(connection, destination, read_checkpoint(connection, _GATHERED))
    if not rows:
        return False
    several = [_decode(row.state) for row in rows if not row.erased]
    # What came before the run before was sent by it, though it may stand behind it.
    several = [one for one in several if one.cause > since]
    if several:
        follow(connection, batches_of(several, destination.max_batch, run))
    put_checkpoint(connection, _GATHERED, rows[-1].position)
    _count(connection, len(several))
    return True


def gathered_after(connection: Connection, destination: Destination, position: int) -> list[Row]:
    """The next rows above a position that the connection has gathered, at most as many as form a batch."""
    topics = [gathered_topic(destination.connection)]
    return read_topics(connection, position, max(destination.max_batch, _PAGE), None, topics)


def _look_at_people(
    connection: Connection, plan: Plan, destination: Destination, run: Run, follow: Follow
) -> bool:
    """Looks at the next people; whether there were any."""
    after, seen = read_checkpoint(connection, _PEOPLE), 0
    routed: list[tuple[int, str, Routed]] = []
    entries: list[Entry] = []
    last = ""
    for page in looked_at(connection, plan, destination, run, after):
        save(connection, page.state, Outcome(frozenset(page.fold.changes.profiles), {}, {}, [], []))
        routed += page.fold.telling.routed
        entries += [entry for _, entry in page.fold.changes.derived]
        last, seen = page.last, seen + _PAGE
        if len(routed) >= destination.max_batch or seen >= _PEOPLE_AT_ONCE:
            break
    if not last:
        return False
    entries += outbound(routed)
    if entries:
        follow(connection, entries)
    put_checkpoint(connection, _PEOPLE, UUID(last).int >> _SHIFT)
    _count(connection, len(routed))
    return True


def looked_at(
    connection: Connection, plan: Plan, destination: Destination, run: Run, after: int = -1
) -> Iterator[Page]:
    """What the run makes of those who concern it and have not been looked at, page by page. `after` are the upper bits
    of the last one's id. Nothing is saved."""
    while True:
        least = (after + 1) << _SHIFT
        if least >> 128:
            return
        ids = _ids(connection, destination, UUID(int=least))
        if not ids:
            return
        state = State({}, load_profiles(connection, ids))
        fold = Fold(plan, state, lambda _: run.position)
        for id in ids:
            fold.run(state.profiles[id], run)
        yield Page(ids[-1], state, fold)
        after = UUID(ids[-1]).int >> _SHIFT


def _ids(connection: Connection, destination: Destination, least: UUID) -> list[str]:
    if destination.mode == "snapshot":
        return members_from(connection, destination.audience, least, _PAGE)
    return profiles_from(connection, least, _PAGE)


def _count(connection: Connection, records: int) -> None:
    put_checkpoint(connection, _RECORDS, read_checkpoint(connection, _RECORDS) + records)
