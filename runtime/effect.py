"""A changed workspace takes effect: at one position, and in batches that are a transaction each.

The pipeline stays where it is until it is done, while records go on coming in. A crash anywhere goes on with the batch
that was not saved. How far it has come is in checkpoints: what is being settled, how far the history was folded, and of
each part of the people by the upper bits of their ids who were looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import structlog
from sqlalchemy import Connection, text

from adapters.log.read import read_events, read_topics
from adapters.projections.checkpoint import drop_checkpoints, find_checkpoint, put_checkpoint, read_checkpoint
from adapters.projections.definitions import DefinitionChange, apply_definitions, changed_since
from adapters.projections.people import (
    load_graph,
    load_profiles,
    save,
    save_memberships,
    save_profiles,
)
from adapters.quarantine import left_out
from domain.audiences.evaluation import Event
from domain.configuration import TOPICS
from domain.derived import event_name
from domain.identity_rules import leader_of
from domain.records import Entry, Row, dig, node_id, record_of
from domain.state import Outcome, Plan, State
from runtime.ahead import Ahead
from runtime.identity_rules import rules_until
from runtime.look_anew import PARTS, Backfill, Change, LakeLostError, Look, Part, leaves_in_bulk

#: Where a workspace last took effect.
SETTLED: Final = "settled"
SETTLING: Final = "settling"
_HISTORY: Final = "settling.history"
_PEOPLE: Final = {part: f"settling.people.{number}" for number, part in enumerate(PARTS)}
#: Up to which position the lake tells what happened; 0 where the log tells all of it.
_LAKE: Final = "settling.lake"
#: Records of the history in one transaction.
_RECORDS: Final = 2_000
_body = msgspec.json.Decoder().decode
Follow = Callable[[Connection, Sequence[Entry]], object]


log = structlog.get_logger("pipeline")


def standing(connection: Connection) -> dict[str, int | None]:
    """Where the workspace in force took effect and, while another one does, where that is and up to which position
    of it the history has been folded."""
    return {
        "in_force_since": find_checkpoint(connection, SETTLED),
        "taking_effect": find_checkpoint(connection, SETTLING),
        "history_folded_to": find_checkpoint(connection, _HISTORY),
    }


def begin(connection: Connection, row: Row, change_of: Callable[[Row], DefinitionChange]) -> None:
    """Puts what was declared since the last time into force."""
    after = read_checkpoint(connection, SETTLED)
    changes: list[DefinitionChange] = []
    while rows := read_topics(connection, after, _RECORDS, row.position, TOPICS):
        changes += [change_of(one) for one in rows]
        after = rows[-1].position
    apply_definitions(connection, changes)
    put_checkpoint(connection, SETTLING, row.position)
    put_checkpoint(connection, _HISTORY, 0)
    drop_checkpoints(connection, (_LAKE, *_PEOPLE.values()))
    log.info("a workspace takes effect", position=row.position, definitions=len(changes))


def begun(connection: Connection, row: Row) -> bool:
    """Whether it has been begun at this row."""
    return find_checkpoint(connection, SETTLING) == row.position


def settle(
    connection: Connection,
    plan: Plan,
    row: Row,
    change_of: Callable[[Row], DefinitionChange],
    follow: Follow,
    backfill: Backfill | None = None,
    ahead: Ahead | None = None,
) -> bool:
    """Does the next batch; true once nothing is left to do. What happened is read from `backfill` as far as that has
    it, and then from the log. With `ahead`, many people are looked at by a process of its own."""
    changed = changed_since(connection, read_checkpoint(connection, SETTLED))
    audiences = [name for kind, name in changed if kind == "audience"]
    events = plan.audiences.events_of(audiences, [name for kind, name in changed if kind == "trait"])
    if find_checkpoint(connection, _LAKE) is None:
        reach = min(backfill.reach(), row.position) if backfill and leaves_in_bulk(plan, changed) else 0
        put_checkpoint(connection, _LAKE, reach)
        put_checkpoint(connection, _HISTORY, reach)
    if events and _fold_history(connection, plan, row, events, change_of):
        return False
    change = Change(row.position, row.recorded_at, tuple(sorted(changed)), read_checkpoint(connection, _LAKE))
    if _look_at_people(connection, plan, change, follow, backfill, ahead):
        return False
    if ahead:
        ahead.close()
    if backfill:
        backfill.close()
    put_checkpoint(connection, SETTLED, row.position)
    drop_checkpoints(connection, (SETTLING, _HISTORY, _LAKE, *_PEOPLE.values()))
    log.info("the workspace is in effect", position=row.position)
    return True


def _fold_history(
    connection: Connection,
    plan: Plan,
    row: Row,
    events: Collection[str],
    change_of: Callable[[Row], DefinitionChange],
) -> bool:
    """Folds the next records of these events; whether there were any."""
    after = read_checkpoint(connection, _HISTORY)
    if after >= row.position:
        return False
    rows = read_events(connection, after, _RECORDS, row.position, events)
    put_checkpoint(connection, _HISTORY, rows[-1].position if len(rows) == _RECORDS else row.position)
    if not rows:
        return False
    apart = left_out(connection, rows[0].position - 1, rows[-1].position)
    records = [(one, record_of(one.state)) for one in rows if not one.erased and one.position not in apart]
    rules = rules_until(connection, row.position, change_of)
    leaders = [leader_of(record, one.subject or "", rules(one.position)) for one, record in records]
    graph = load_graph(connection, {node_id(leader) for leader in leaders if leader is not None})
    profiles = load_profiles(connection, set(graph.values()))
    for (one, record), leader in zip(records, leaders, strict=True):
        # Whosever record it was, what led it is theirs.
        node = "" if leader is None else node_id(leader)
        if node in graph:
            properties = dig(_body(record.body), record.properties_at) | record.properties
            at = min(record.occurred_at, one.recorded_at)
            event = Event(event_name(record), at, one.position, properties)
            plan.audiences.fold(profiles[graph[node]].conditions, event)
    save(connection, State(graph, profiles), Outcome(frozenset(profiles), {}, {}, [], []))
    return True


def _look_at_people(
    connection: Connection,
    plan: Plan,
    change: Change,
    follow: Follow,
    backfill: Backfill | None,
    ahead: Ahead | None,
) -> bool:
    """Looks at the next people anew; whether anything is left to do."""
    # Of a very long history the lake's first answer may take minutes, in which nobody waits for this transaction.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    left = _people_left(connection)
    if not left:
        return False
    look = Look(plan, change, backfill)
    try:
        looked = ahead.at(connection, look, change, left) if ahead else look.at(connection, left)
    except LakeLostError:
        # From the log then, from its beginning: what conditions have already does no harm.
        put_checkpoint(connection, _LAKE, 0)
        put_checkpoint(connection, _HISTORY, 0)
        return True
    if looked.changed:
        save_profiles(connection, looked.changed)
    save_memberships(connection, looked.memberships)
    if looked.entries:
        follow(connection, looked.entries)
    put_checkpoint(connection, _PEOPLE[looked.part], looked.last)
    return True


def _people_left(connection: Connection) -> dict[Part, int]:
    """The parts whose people have not all been looked at, and of each up to which upper bits they have."""
    found = {part: find_checkpoint(connection, name) for part, name in _PEOPLE.items()}
    reached = {part: part.first - 1 if last is None else last for part, last in found.items()}
    return {part: last for part, last in reached.items() if last < part.last}
