"""Computed traits: what they come to, that order and duplicates do not matter, that merging is knowing from the start,
and that bulk finds the same people."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlglot import exp, parse_one

from domain.audiences.definition import Audience, InvalidAudiences
from domain.audiences.evaluation import Person, compile_audiences
from domain.audiences.occurrences import Event
from domain.audiences.sql.compiler import compile_audience
from domain.profiles import Profile, decode_profile, encode_profile
from domain.traits.definition import DAY, MOST_VALUES, Trait
from domain.traits.leaf import TraitLeaf
from domain.workspace import Workspace
from tests.examples import examples
from tests.unit.lake_tables import lake, values

HOUR = 3_600_000_000
OF_EVENTS = ("count", "time_since")
NUMBERS = ("sum", "average", "min", "max")
OTHERS = ("first", "last", "most_frequent", "distinct", "distinct_count")
WINDOWS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"within": "3h"},
        {"within": "2d"},
        {"before": "1h"},
        {"between": ["1h", "2d"]},
        {"before": "1970-01-02"},
    ]
)
VALUES = st.sampled_from(
    [None, True, False, 0, 1, -2.5, 99.99, 10**13, "x", "y", "", "z" * 501, ["x"], {"a": 1}]
)


@st.composite
def traits(draw: st.DrawFn) -> dict[str, Any]:
    compute = draw(st.sampled_from([*OF_EVENTS, *NUMBERS, *OTHERS]))
    found: dict[str, Any] = {"event": draw(st.sampled_from(["A", "B"])), "compute": compute} | draw(WINDOWS)
    if compute not in OF_EVENTS:
        found["of"] = draw(st.sampled_from(["n", "deep.n"]))
    if draw(st.integers(0, 3)) == 0:
        found["where"] = {"k": {"is": "x"}}
    return found


@st.composite
def histories(draw: st.DrawFn, most: int = 12) -> list[Event]:
    """In order of position; some occurred hours before those that were there already."""
    found, now = [], 0
    for position in range(1, draw(st.integers(0, most)) + 1):
        now += draw(st.sampled_from([0, 1, HOUR, 20 * HOUR]))
        at = max(now - draw(st.sampled_from([0, 0, HOUR, 30 * HOUR])), 0)
        value = draw(VALUES)
        properties: dict[str, Any] = {"n": value, "deep": {"n": value}, "k": draw(st.sampled_from("xy"))}
        found.append(Event(draw(st.sampled_from(["A", "A", "B"])), at, position, properties))
    return found


def naive(said: dict[str, Any], history: Sequence[Event], now: int) -> Any:
    """The trait's meaning, straight from docs/reference/traits.md; windows are the audiences', and tested with them."""
    trait = Trait.model_validate(said)
    window, compute = trait.window, said["compute"]
    happened = sorted(
        (
            event
            for event in history
            if event.name == said["event"]
            and ("where" not in said or event.properties["k"] == "x")
            and window.takes(event.occurred_at)
            and window.inside([[event.occurred_at]], now)
        ),
        key=lambda event: (event.occurred_at, event.position),
    )
    if compute == "count":
        return len(happened)
    if compute == "time_since":
        return (now - happened[-1].occurred_at) // DAY if happened else None
    asked = [event.properties["n"] for event in happened]
    if compute in NUMBERS:
        numbers = [n for n in asked if type(n) in (int, float) and abs(n) < 10**12]
        if compute == "sum":
            return pytest.approx(sum(numbers))
        if not numbers:
            return None
        return {
            "average": pytest.approx(sum(numbers) / len(numbers)),
            "min": min(numbers),
            "max": max(numbers),
        }[compute]
    told = [v for v in asked if isinstance(v, (bool, int, float)) or (isinstance(v, str) and len(v) <= 500)]
    keys = [(isinstance(v, str), not isinstance(v, bool), v) for v in told]
    if compute == "distinct_count":
        return len(set(keys))
    if not told:
        return None
    if compute == "distinct":
        return [v for *_, v in sorted(set(keys), key=_written)]
    if compute == "most_frequent":
        most = max(keys.count(key) for key in keys)
        ties = [key for key in keys if keys.count(key) == most]
        return min(ties, key=_rank)[2]
    return told[0 if compute == "first" else -1]


def _rank(key: tuple[bool, bool, Any]) -> tuple[int, Any]:
    text, no_truth, value = key
    return (2 if text else 1 if no_truth else 0, value)


def _written(key: tuple[bool, bool, Any]) -> str:
    text, no_truth, value = key
    return f"t:{value}" if text else f"n:{float(value)!r}" if no_truth else f"b:{value}"


def folded(leaf: TraitLeaf, history: Sequence[Event]) -> list[Any]:
    state = leaf.empty()
    for event in history:
        if event.name in leaf.names:
            leaf.fold(state, event)
    return state


@given(traits(), histories(), st.sampled_from([0, 1, HOUR, 25 * HOUR, 60 * HOUR]))
@examples(400)
def test_a_trait_comes_to_what_its_meaning_says(
    said: dict[str, Any], history: list[Event], later: int
) -> None:
    leaf = TraitLeaf(Trait.model_validate(said))
    now = max((event.occurred_at for event in history), default=0) + later
    value = leaf.value(folded(leaf, history), now)
    assert value == naive(said, history, now)
    assert type(value) in (int, float, str, bool, list, type(None))


@given(traits(), histories(), st.data())
@examples(300)
def test_merging_two_people_is_having_known_one_from_the_start(
    said: dict[str, Any], history: list[Event], data: st.DataObject
) -> None:
    leaf = TraitLeaf(Trait.model_validate(said))
    whose = data.draw(st.lists(st.integers(0, 2), min_size=len(history), max_size=len(history)))
    a, b, c = (
        folded(leaf, [event for event, who in zip(history, whose, strict=True) if who == person])
        for person in range(3)
    )
    together = folded(leaf, history)
    copies = [json.loads(json.dumps(each)) for each in (a, b, c)]
    assert leaf.merge(leaf.merge(a, b), c) == together
    a, b, c = copies
    assert leaf.merge(c, leaf.merge(b, a)) == together


@given(traits(), histories())
@examples(200)
def test_records_that_are_folded_again_change_nothing(said: dict[str, Any], history: list[Event]) -> None:
    leaf = TraitLeaf(Trait.model_validate(said))
    once = folded(leaf, history)
    again = json.loads(json.dumps(once))
    for event in history:
        if event.name in leaf.names:
            leaf.fold(again, event)
    assert again == json.loads(json.dumps(once))


@given(traits(), histories())
@examples(200)
def test_a_trait_changes_by_time_alone_when_it_says_so(said: dict[str, Any], history: list[Event]) -> None:
    leaf = TraitLeaf(Trait.model_validate(said))
    state = folded(leaf, history)
    now = max((event.occurred_at for event in history), default=0)
    for _ in range(30):
        due = leaf.due(state, now)
        if due is None:
            due = now + 400 * DAY
            assert leaf.value(state, due) == leaf.value(state, now)
            break
        assert due > now
        assert leaf.value(state, due - 1) == leaf.value(state, now)
        now = due


COMPARISONS = st.sampled_from(
    [
        {"at_least": 1},
        {"at_least": 1.5},
        {"less_than": 2},
        {"greater_than": 0, "at_most": 3},
        {"is": "x"},
        {"is": 1},
        {"is": True},
        {"is_not": "x"},
        {"in": ["x", 1, False]},
        {"contains": "x"},
        {"contains": 1},
        {"contains": True},
        {"starts_with": "x"},
        {"exists": True},
        {"exists": False},
    ]
)


@given(
    traits(),
    COMPARISONS,
    st.lists(histories(8), min_size=1, max_size=4),
    st.sampled_from([0, HOUR, 26 * HOUR]),
)
@examples(120)
def test_an_audience_by_a_trait_has_the_same_members_in_bulk_and_streamed(
    said: dict[str, Any], comparison: dict[str, Any], people: list[list[Event]], later: int
) -> None:
    audiences = {"asked": Audience.model_validate({"match": {"trait": "one"} | comparison})}
    declared = {"one": Trait.model_validate(said)}
    compiled = compile_audiences(audiences, declared)
    now = max((event.occurred_at for history in people for event in history), default=0) + later
    tables: dict[str, list[dict[str, Any]]] = {"events": [], "identity": []}
    stream = set()
    for number, history in enumerate(people):
        who = f"person-{number}"
        tables["identity"].append({"node": who, "profile": who})
        conditions: dict[str, Any] = {}
        for event in history:
            compiled.fold(conditions, event)
            row = {"position": event.position, "occurred_at": event.occurred_at, "name": event.name}
            tables["events"].append(row | {"node": who} | values(event.properties))
        person = Person(conditions, {}, {}, (), who)
        verdict = compiled.evaluate("asked", person, now)
        if verdict.holds:
            stream.add(who)
        if verdict.due is not None:
            assert compiled.evaluate("asked", person, verdict.due - 1).holds == verdict.holds
    query = compile_audience(audiences, "asked", now, None, declared)
    found = {profile for (profile,) in lake(tables).execute(query.sql(dialect="duckdb")).fetchall()}
    assert found == stream
    for dialect in ("spark", "trino"):
        assert parse_one(query.sql(dialect=dialect), read=dialect).find(exp.Table) is not None


def test_too_many_values_are_bounded_the_same_whatever_order_they_come_in() -> None:
    leaf = TraitLeaf(Trait.model_validate({"event": "A", "compute": "distinct_count", "of": "n"}))
    events = [Event("A", 0, n, {"n": f"value-{n % 1_500}"}) for n in range(1, 3_001)]
    whole = folded(leaf, events)
    assert leaf.value(whole, 0) == MOST_VALUES
    assert set(whole[1].values()) == {2}
    halves = folded(leaf, events[::2]), folded(leaf, events[1::2])
    assert leaf.merge(*halves) == whole
    assert leaf.merge(*reversed(halves)) == whole


def test_a_lifetime_value_beyond_sixty_four_bits_is_kept() -> None:
    leaf = TraitLeaf(Trait.model_validate({"event": "A", "compute": "sum", "of": "n"}))
    events = [Event("A", 0, n, {"n": 9e11}) for n in range(1, 101)]
    profile = Profile(id="p", created=1, latest=1, conditions={leaf.id: folded(leaf, events)})
    kept = decode_profile(encode_profile(profile)).conditions[leaf.id]
    assert leaf.value(kept, 0) == 9e13


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"event": "A", "compute": "sum"}, "is computed of a property: name it with 'of'"),
        ({"event": "A", "compute": "count", "of": "n"}, "looks at no property: leave 'of' out"),
        ({"event": "A", "compute": "median", "of": "n"}, "'count', 'sum', 'average'"),
        ({"event": "A", "compute": "count", "witin": "3d"}, "did you mean 'within'?"),
    ],
)
def test_a_mistaken_trait_says_what_would_be_right(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Trait.model_validate(said)


def test_an_audience_that_asks_for_an_unknown_trait_is_refused() -> None:
    audience = Audience.model_validate({"match": {"trait": "lifetime_valu", "at_least": 100}})
    with pytest.raises(InvalidAudiences, match="did you mean 'lifetime_value'"):
        compile_audiences({"big": audience}, {"lifetime_value": Trait(event="A", compute="sum", of="total")})


def test_a_connection_that_sends_an_unknown_trait_is_refused() -> None:
    said = {
        "workspace": "shop",
        "audiences": {"all": {"match": {"event": "A"}}},
        "connections": {"crm": {"connector": "hubspot", "audience": "all", "fields": {"v": "trait.value"}}},
    }
    with pytest.raises(
        ValidationError, match="sends trait 'value', which is not declared; declared are: none"
    ):
        Workspace.model_validate(said)


def test_every_example_of_the_reference_can_be_declared() -> None:
    text = (Path(__file__).parents[2] / "docs/reference/traits.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        Workspace.model_validate({"workspace": "shop"} | yaml.safe_load(block))
