"""A changed workspace takes effect: at one position, and in batches that are a transaction each.

The pipeline stays where it is until it is done, while records go on coming in. A crash anywhere goes on with the batch
that was not saved. How far it has come is in checkpoints: what is being settled, how far the history was folded, and by
the upper bits of their ids which people were looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection

from adapters.log.read import driver_of, read_events, read_positions, read_topics
from adapters.projections.checkpoint import drop_checkpoints, find_checkpoint, put_checkpoint, read_checkpoint
from adapters.projections.definitions import DefinitionChange, apply_definitions, changed_since
from adapters.projections.people import load_graph, load_profiles, profiles_from, save
from adapters.quarantine import left_out
from domain.audiences.evaluation import Event
from domain.configuration import TOPICS, Definition
from domain.derived import event_name
from domain.fold import Fold
from domain.identity_rules import DEFAULT_RULES, Rules, leader_of
from domain.records import Entry, Row, dig, node_id, record_of
from domain.settling import APPLIED, STREAM, Settling, settling_of
from domain.state import Outcome, Plan, State
from domain.workspace import Workspace
from runtime.identity_rules import rules_of

#: Where a workspace last took effect.
SETTLED: Final = "settled"
SETTLING: Final = "settling"
_HISTORY: Final = "settling.history"
_PEOPLE: Final = "settling.people"
#: Records of the history, and people, in one transaction.
_RECORDS: Final = 2_000
_BATCH: Final = 1_000
#: An id without those of its 128 bits that a checkpoint has no room for.
_SHIFT: Final = 65

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
    put_checkpoint(connection, _PEOPLE, -1)
    log.info("a workspace takes effect", position=row.position, definitions=len(changes))


def begun(connection: Connection, row: Row) -> bool:
    """Whether it has been begun at this row."""
    return find_checkpoint(connection, SETTLING) == row.position


def settle(
    connection: Connection, plan: Plan, row: Row, change_of: Callable[[Row], DefinitionChange], follow: Follow
) -> bool:
    """Does the next batch; true once nothing is left to do."""
    changed = changed_since(connection, read_checkpoint(connection, SETTLED))
    events = plan.audiences.events_of(
        [name for kind, name in changed if kind == "audience"],
        [name for kind, name in changed if kind == "trait"],
    )
    if events and _fold_history(connection, plan, row, events, change_of):
        return False
    settling = settling_of(plan, row.position, row.recorded_at, changed)
    if _look_at_people(connection, plan, settling, follow):
        return False
    put_checkpoint(connection, SETTLED, row.position)
    drop_checkpoints(connection, (SETTLING, _HISTORY, _PEOPLE))
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
    rules = _rules(connection, row, change_of)
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


def _rules(
    connection: Connection, row: Row, change_of: Callable[[Row], DefinitionChange]
) -> Callable[[int], Rules]:
    """By which rules identities were resolved at a position before this row."""
    streams = [
        str(Definition.create_id(kind, name))
        for kind, name in changed_since(connection, 0)
        if kind == "workspace"
    ]
    found = driver_of(connection).execute(
        "SELECT position FROM log_stream WHERE stream_id = ANY(%s::uuid[]) AND position < %s ORDER BY 1",
        ([*streams, STREAM], row.position),
    )
    places: list[int] = []
    rules: list[Rules] = []
    declared = DEFAULT_RULES
    for one in read_positions(connection, [position for (position,) in found]):
        if one.topic == APPLIED:
            places.append(one.position)
            rules.append(declared)
        else:
            body = change_of(one).body or {}
            declared = rules_of(Workspace.model_validate({"workspace": "past"} | body))
    return lambda position: rules[at - 1] if (at := bisect_left(places, position)) else DEFAULT_RULES


def _look_at_people(connection: Connection, plan: Plan, settling: Settling, follow: Follow) -> bool:
    """Looks at the next people anew; whether there were any."""
    least = (read_checkpoint(connection, _PEOPLE) + 1) << _SHIFT
    ids = profiles_from(connection, UUID(int=least), _BATCH) if least >> 128 == 0 else []
    if not ids:
        return False
    state = State({}, load_profiles(connection, ids))
    fold = Fold(plan, state, lambda _: settling.position)
    for id in ids:
        fold.settle(state.profiles[id], settling)
    outcome = fold.outcome()
    save(connection, state, outcome)
    if outcome.entries:
        follow(connection, outcome.entries)
    put_checkpoint(connection, _PEOPLE, UUID(ids[-1]).int >> _SHIFT)
    return True
