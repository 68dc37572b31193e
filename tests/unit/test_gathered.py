"""What conditions remember of people in bulk, from the lake, is what they remember event by event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.history import states
from adapters.history.states import States
from domain.audiences.definition import Audience
from domain.audiences.evaluation import Conditions, Event, compile_audiences
from domain.traits.leaf import TraitLeaf
from tests.examples import examples
from tests.unit.lake_tables import lake, values
from tests.unit.test_audiences_evaluation import definitions, histories
from tests.unit.test_audiences_sql import COMPARISONS, DOCUMENTS, PATHS

encoded = msgspec.msgpack.Encoder(order="deterministic").encode


@pytest.fixture(autouse=True, scope="module")
def few_at_once() -> Iterator[None]:
    """What somebody did is read in several parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "ROWS", 3)
        yield


_SAID = st.lists(st.tuples(DOCUMENTS, st.integers(0, 3)), max_size=4)


@given(st.lists(_SAID, min_size=1, max_size=3), PATHS, PATHS, COMPARISONS)
@examples(100)
def test_of_events_of_any_properties(
    people: list[list[tuple[dict[str, Any], int]]], asked: str, other: str, comparison: dict[str, Any]
) -> None:
    where = {asked: comparison}
    said: dict[str, Any] = {
        "count": {"event": "A", "where": where, "at_least": 2},
        "sum": {"event": "A", "sum": other, "at_least": 1},
        "last": {"event": "A", "last": {"where": where}},
        "sequence": {
            "event": "A",
            "where": where,
            "then": [{"event": "A"}, {"event": "A", "same": other}, {"event": "A", "same": other}],
            "within": "1h",
        },
    }
    several = [
        [Event("A", at, 10 * n + position, document) for position, (document, at) in enumerate(told, 1)]
        for n, told in enumerate(people)
    ]
    assert_remembered({name: {"match": match} for name, match in said.items()}, several)


@given(definitions(), st.lists(histories(), min_size=1, max_size=3))
@examples(100)
def test_for_audiences_of_any_kind(said: dict[str, Any], people: list[list[tuple[int, Event]]]) -> None:
    several = [
        [event._replace(position=100 * n + event.position) for _, event in told]
        for n, told in enumerate(people)
    ]
    assert_remembered(said, several)


def test_of_more_than_is_remembered() -> None:
    events = [Event("AB"[at % 3 % 2], at // 2, at, {"k": at % 5, "n": at / 4}) for at in range(1, 250)]
    match: dict[str, dict[str, Any]] = {
        "newest": {"event": "A", "at_least": 7},
        "oldest": {"event": "A", "at_least": 7, "before": "1h"},
        "sliding": {"event": "A", "between": ["1h", "3h"]},
        "sum": {"event": "A", "sum": "n", "at_least": 1},
        "first": {"event": "B", "first": {"where": {"k": {"is": 1}}}},
        "sequence": {"event": "A", "then_none": [{"event": "B", "same": "k"}], "within": "1h"},
    }
    assert_remembered({name: {"match": one} for name, one in match.items()}, [events, events[:1]])


def assert_remembered(said: dict[str, Any], people: list[list[Event]]) -> None:
    compiled = compile_audiences({name: Audience.model_validate(body) for name, body in said.items()})
    leaves = [leaf for leaf in compiled.asked_by(said) if not isinstance(leaf, TraitLeaf)]
    tables: dict[str, list[dict[str, Any]]] = {"events": [], "identity": []}
    live: list[Conditions] = []
    for n, events in enumerate(people):
        tables["identity"].append({"node": f"n{n}", "profile": f"p{n}"})
        live.append({})
        for event in events:
            row = {"position": event.position, "occurred_at": event.occurred_at, "name": event.name}
            tables["events"].append(row | {"node": f"n{n}"} | values(event.properties))
            compiled.fold(live[-1], event)
    if not leaves:
        return
    duck = lake(tables)
    duck.register("gone", pa.table({"node": pa.array([], pa.string()), "before": pa.array([], pa.int64())}))
    bulk: list[Conditions] = [{} for _ in people]
    for who, leaf, state in States(duck, leaves, 2**62).between(1, len(people)):
        held = bulk[who - 1].get(leaf.id)
        bulk[who - 1][leaf.id] = state if held is None else leaf.merge(held, state)
    # In bytes, as true and 1 are equal otherwise.
    assert [encoded(one) for one in bulk] == [encoded(one) for one in live]
