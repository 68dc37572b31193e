"""One definition, one answer, whoever comes to it: the stream, whenever the audience was declared; the lake in bulk; a
rebuild; and the meaning as it is written. People merge and are unmerged meanwhile, by whatever identity strategy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.history import AttributeRow, ConsentRow, HappenedRow, HistoryRow, anchor, history_of
from domain.identity_rules import DEFAULT_RULES
from domain.state import Inbound
from domain.workspace import Workspace
from runtime.identity_rules import rules_of
from tests.examples import examples
from tests.unit.door import Door
from tests.unit.lake_tables import values
from tests.unit.memory import HOUR, record
from tests.unit.naive_audiences import Happened, Known, holds
from tests.unit.test_audiences_evaluation import definitions
from tests.unit.test_audiences_sql import MOMENTS, members
from tests.unit.test_rebuild import CUTS, History, cuts_of, in_shards

_ANN, _BOB = ("user_id", "ann"), ("user_id", "bob")
_PHONE, _TABLET = ("anonymous_id", "phone"), ("anonymous_id", "tablet")
_MAIL = ("email", "a@b.c")
_WHO = st.lists(st.sampled_from([_ANN, _BOB, _PHONE, _TABLET, _MAIL]), min_size=1, max_size=2, unique=True)
_PROPERTIES: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, {"k": "x"}, {"k": "y", "n": 1}, {"k": "x", "n": 0}]
)
_TRAITS: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, {"plan": "pro"}, {"plan": "free"}, {"age": 17}, {"age": 18, "plan": None}]
)
_CONSENT = st.sampled_from([{}, {"push": True}, {"push": False}])

#: How people are told apart.
_TOLD_APART = st.sampled_from(
    [
        {},
        {"login": "begins_anew"},
        {"match": "best"},
        {"shared_device": "most_recent_user"},
        {"login": "begins_anew", "shared_device": "most_recent_user"},
    ]
)


@st.composite
def logs(draw: st.DrawFn) -> list[Inbound]:
    """Records of a few people who turn out to be one, or share a device; some arrive hours after they occurred."""
    found: list[Inbound] = []
    now = HOUR
    for number in range(1, draw(st.integers(1, 12)) + 1):
        now += draw(st.sampled_from([0, 1, HOUR - 1, HOUR, 2 * HOUR, 9 * HOUR]))
        at = max(now - draw(st.sampled_from([0, 0, 1, HOUR, 3 * HOUR])), 0)
        kind, who = draw(st.sampled_from(["track", "track", "track", "identify", "alias"])), draw(_WHO)
        if kind == "track":
            name = draw(st.sampled_from(["A", "B", "C"]))
            said = record("track", who, at, name=name, properties=draw(_PROPERTIES))
        elif kind == "identify":
            said = record("identify", who, at, traits=draw(_TRAITS), consent=draw(_CONSENT))
        else:
            said = record("alias", who, at)
        found.append(Inbound(number, now, said))
    return found


# In two parts, as two processors then draw side by side.
@pytest.mark.parametrize("part", [1, 2])
@given(definitions(), logs(), MOMENTS, st.integers(0, 12), CUTS, _TOLD_APART)
@examples(40)
def test_stream_bulk_rebuild_and_meaning_agree(
    part: int,
    said: dict[str, Any],
    records: list[Inbound],
    later: int,
    declared: int,
    cuts: list[tuple[int, int, int, int]],
    told_apart: dict[str, str],
) -> None:
    now = records[-1].recorded_at + later
    several = [*records, Inbound(len(records) + 1, now, None)]
    # Rows are led as the door leads them: by whom a record says first that it is about.
    # The audience is declared in the middle of it all, or from the start.
    changes: list[tuple[int, Any]] = [(0, ("workspace", "w", {"identity": told_apart}))]
    changes += [(declared % len(several), ("audience", name, body)) for name, body in said.items()]
    door = Door(rules_of(Workspace.model_validate({"workspace": "w", "identity": told_apart})))
    history = History(several, changes, cuts_of(records, cuts), door)
    live = history.in_order()
    stream: dict[str, set[str]] = {name: set() for name in said}
    for audience, profile in live.memberships:
        if audience in said:
            stream[audience].add(profile)
    rebuilt: dict[str, set[str]] = {name: set() for name in said}
    for fold in in_shards(history, 2, 5):
        for id, one in fold.profiles.items():
            for audience in said.keys() & one.memberships.keys():
                rebuilt[audience].add(id)
    assert rebuilt == stream, json.dumps(said)
    rows = [row for row in lake_rows(history) if row.node in live.graph]
    assert meant(said, rows, live.graph, now) == stream, json.dumps(said)
    assert members(tables_of(rows, live.graph), said, now) == stream, json.dumps(said)


def lake_rows(history: History) -> Iterator[HistoryRow]:
    """The history as the lake has it."""
    for position, one in history.inbound.items():
        if one.record is not None:
            node = anchor(one.record, one.subject or "", DEFAULT_RULES)
            if node is not None:
                yield from history_of(one.record, position, one.recorded_at, node, 0)


def tables_of(rows: list[HistoryRow], graph: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    tables: dict[str, list[dict[str, Any]]] = {"events": [], "attributes": [], "consents": []}
    tables["identity"] = [{"node": node, "profile": profile} for node, profile in graph.items()]
    for row in rows:
        said = {"position": row.position, "occurred_at": row.occurred_at, "node": row.node}
        match row:
            case HappenedRow():
                tables["events"].append(said | {"name": row.name} | values(row.properties))
            case AttributeRow():
                more = {"name": row.name, "priority": row.priority} | values({row.name: row.value})
                tables["attributes"].append(said | more)
            case ConsentRow():
                tables["consents"].append(said | {"purpose": row.purpose, "given": row.given})
    return tables


def meant(
    said: dict[str, Any], rows: list[HistoryRow], graph: Mapping[str, str], now: int
) -> dict[str, set[str]]:
    """Who belongs, by the meaning, of the people as they are in the end."""
    found: dict[str, set[str]] = {name: set() for name in said}
    for profile in set(graph.values()):
        own = sorted(
            (row for row in rows if graph[row.node] == profile), key=lambda r: (r.occurred_at, r.position)
        )
        known = Known(
            [
                Happened(r.name, r.occurred_at, r.position, r.properties)
                for r in own
                if isinstance(r, HappenedRow)
            ],
            {r.name: r.value for r in own if isinstance(r, AttributeRow)},
            {r.purpose: r.given for r in own if isinstance(r, ConsentRow)},
            profile,
        )
        for name in said:
            if holds(said, name, known, now):
                found[name].add(profile)
    return found
