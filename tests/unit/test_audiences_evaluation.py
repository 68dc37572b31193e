"""The incremental evaluator says what the meaning says, at every moment, in whatever order things arrive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import CompiledAudiences, Conditions, Event, Person, compile_audiences
from domain.audiences.sequences import SEQUENCE_LIMIT
from tests.examples import examples
from tests.unit.naive_audiences import Happened, Known, holds

HOUR = 3_600_000_000
NAMES = ("A", "B", "C")
WHERE: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"n": {"at_least": 1}}, {"k": {"is": "x"}}, {"k": {"is_not": "x"}}, {"n": {"exists": False}}]
)
WITHIN = st.sampled_from(["1h", "2h", "5h", "1d"])
WINDOW: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"within": "2h"},
        {"within": "1d"},
        {"before": "1h"},
        {"before": "5h"},
        {"between": ["1h", "3h"]},
        {"within": "1d", "before": "2h"},
        {"before": "1970-01-01T06:00:00"},
        {"between": ["1970-01-01T02:00:00", "1970-01-01T11:00:00"]},
    ]
)


@st.composite
def counts(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"event": draw(st.sampled_from(NAMES))}
    found |= draw(
        st.sampled_from([{}, {"at_least": 2}, {"at_most": 1}, {"at_most": 0}, {"exactly": 2}, {"exactly": 0}])
    )
    where = draw(WHERE)
    return found | draw(WINDOW) | ({"where": where} if where else {})


@st.composite
def sums(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"event": draw(st.sampled_from(NAMES)), "sum": "n"}
    found |= draw(st.sampled_from([{"at_least": 1}, {"at_least": 0.5, "less_than": 2}, {"less_than": 1}]))
    where = draw(WHERE)
    return found | draw(WINDOW) | ({"where": where} if where else {})


@st.composite
def first_or_last(draw: st.DrawFn) -> dict[str, Any]:
    where, asked = draw(WHERE), draw(WHERE)
    occasion = draw(WINDOW) | ({"where": asked} if asked else {})
    found = {"event": draw(st.sampled_from(NAMES)), draw(st.sampled_from(["first", "last"])): occasion}
    return found | ({"where": where} if where else {}) if occasion else {"event": "A"}


@st.composite
def sequences(draw: st.DrawFn) -> dict[str, Any]:
    answers = []
    for _ in range(draw(st.integers(1, 2))):
        answer: dict[str, Any] = {"event": draw(st.sampled_from(NAMES))}
        if draw(st.booleans()):
            answer["same"] = "k"
        answer |= draw(st.sampled_from([{}, {}, {"within": "ever"}, {"within": "3h"}]))
        where = draw(WHERE)
        answers.append(answer | ({"where": where} if where else {}))
    way = draw(st.sampled_from(["then", "then_none"]))
    return {"event": draw(st.sampled_from(NAMES)), way: answers, "within": draw(WITHIN)}


FACTS = st.sampled_from(
    [
        {"consent": "push"},
        {"consent": "push", "is": "refused"},
        {"attribute": "plan", "is": "pro"},
        {"attribute": "plan", "is_not": "pro"},
        {"attribute": "age", "at_least": 18},
        {"attribute": "age", "exists": False},
        {"split": "test", "share": 40},
        {"split": "test", "share": [40, 90.5]},
    ]
)
CONDITIONS = st.recursive(
    st.one_of(counts(), sums(), first_or_last(), sequences(), FACTS),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=4,
)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Two audiences, and a third that refers to the first."""
    first, second = draw(CONDITIONS), draw(CONDITIONS)
    third = {"all": [{"in_audience": "first"}, draw(CONDITIONS)]}
    excluding = {"exclude": ["second"]} if draw(st.booleans()) else {}
    return {"first": {"match": first} | excluding, "second": {"match": second}, "third": {"match": third}}


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Event]]:
    """Log time and event, in order of arrival: some events arrive hours after they occurred."""
    found, now = [], 0
    for position in range(1, draw(st.integers(0, 10)) + 1):
        now += draw(st.sampled_from([0, 1, HOUR - 1, HOUR, 2 * HOUR, 9 * HOUR]))
        at = max(now - draw(st.sampled_from([0, 0, 1, HOUR, 3 * HOUR])), 0)
        properties: dict[str, Any] = draw(
            st.sampled_from([{}, {"k": "x"}, {"k": "y", "n": 1}, {"k": "x", "n": 0}])
        )
        found.append((now, Event(draw(st.sampled_from(NAMES)), at, position, properties)))
    return found


def compiled_of(said: dict[str, Any]) -> CompiledAudiences:
    return compile_audiences({name: Audience.model_validate(body) for name, body in said.items()})


def findings(compiled: CompiledAudiences, person: Person, now: int) -> dict[str, tuple[bool, int | None]]:
    """All verdicts at a moment, in dependency order, and when each falls due."""
    members: set[str] = set()
    found = {}
    for name in compiled.names:
        holds, due, _ = compiled.evaluate(name, person._replace(memberships=members), now)
        if holds:
            members.add(name)
        assert due is None or due > now
        found[name] = (holds, due)
    return found


def verdicts(compiled: CompiledAudiences, person: Person, now: int) -> tuple[dict[str, bool], list[int]]:
    """All verdicts at a moment, in dependency order, and when they fall due."""
    found = findings(compiled, person, now)
    dues = [due for _, due in found.values() if due is not None]
    return {name: holds for name, (holds, _) in found.items()}, dues


def expected(said: dict[str, Any], known: Known, now: int) -> dict[str, bool]:
    return {name: holds(said, name, known, now) for name in said}


PEOPLE = st.tuples(
    st.sampled_from([{}, {"plan": "pro"}, {"plan": "free", "age": 18}, {"age": 17}]),
    st.sampled_from([{}, {"push": True}, {"push": False}]),
)


@given(definitions(), histories(), PEOPLE)
@examples(600)
def test_it_says_what_the_meaning_says_at_every_event_and_around_every_due_time(
    said: dict[str, Any], history: list[tuple[int, Event]], known: tuple[dict[str, Any], dict[str, bool]]
) -> None:
    compiled = compiled_of(said)
    conditions: Conditions = {}
    attributes, consent = known
    happened: list[Happened] = []
    for index, (now, event) in enumerate([*history, (10_000 * HOUR, None)]):
        following = history[index][0] if index < len(history) else now
        moment = history[index - 1][0] if index else 0
        person = Person(conditions, attributes, consent, ())
        seen = Known(list(happened), attributes, consent)
        while True:
            found, dues = verdicts(compiled, person, moment)
            assert found == expected(said, seen, moment)
            due = min(dues, default=None)
            if due is None or due > following:
                break
            assert verdicts(compiled, person, due - 1)[0] == found
            assert expected(said, seen, due - 1) == found
            moment = due
        assert expected(said, seen, following) == verdicts(compiled, person, following)[0]
        if event is not None:
            before = findings(compiled, person, now)
            touched = compiled.fold(conditions, event)
            compiled.fold(conditions, event)
            happened.append(Happened(*event))
            after = findings(compiled, person, now)
            assert {name for name in said if before[name] != after[name]} <= set(touched)


@given(definitions(), histories(), st.permutations(range(10)))
@examples(300)
def test_the_order_of_arrival_does_not_matter(
    said: dict[str, Any], history: list[tuple[int, Event]], order: list[int]
) -> None:
    compiled = compiled_of(said)
    straight: Conditions = {}
    shuffled: Conditions = {}
    for _, event in history:
        compiled.fold(straight, event)
    for index in order:
        if index < len(history):
            compiled.fold(shuffled, history[index][1])
    assert shuffled == straight


@given(definitions(), histories(), st.lists(st.integers(0, 2), min_size=10, max_size=10))
@examples(300)
def test_merging_is_having_known_from_the_start(
    said: dict[str, Any], history: list[tuple[int, Event]], whose: list[int]
) -> None:
    compiled = compiled_of(said)
    whole: Conditions = {}
    parts: list[Conditions] = [{}, {}, {}]
    for (_, event), who in zip(history, whose, strict=False):
        compiled.fold(whole, event)
        compiled.fold(parts[who], event)
    a, b, c = parts
    assert compiled.merge(compiled.merge(a, b), c) == whole
    assert compiled.merge(a, compiled.merge(b, c)) == whole
    assert compiled.merge(b, a) == compiled.merge(a, b)
    assert compiled.merge(whole, whole) == whole


def test_beyond_its_bound_a_sequence_remembers_the_newest() -> None:
    said = {"ignored": {"match": {"event": "A", "then_none": [{"event": "B"}], "within": "1h"}}}
    compiled = compiled_of(said)
    conditions: Conditions = {}
    compiled.fold(conditions, Event("A", 0, 1, {}))
    for number in range(SEQUENCE_LIMIT):
        at = (10 + number) * HOUR
        compiled.fold(conditions, Event("A", at, 2 * number + 2, {}))
        compiled.fold(conditions, Event("B", at, 2 * number + 3, {}))
    assert not compiled.evaluate("ignored", Person(conditions, {}, {}, ()), 1_000 * HOUR).holds


def test_an_event_that_nobody_asks_about_leaves_no_state() -> None:
    compiled = compiled_of({"one": {"match": {"event": "A"}}})
    conditions: Conditions = {}
    assert compiled.fold(conditions, Event("Z", 0, 1, {})) == []
    assert not compiled.listens_to("Z")
    assert conditions == {}


@pytest.mark.parametrize(
    ("value", "comparison", "met"),
    [
        (True, {"is": 1}, False),
        (1, {"is": 1.0}, True),
        ("1", {"is": 1}, False),
        (None, {"is_not": "pro"}, True),
        (None, {"at_most": 3}, False),
        ("b", {"greater_than": "a"}, True),
        ("b", {"greater_than": 1}, False),
        (5, {"at_least": 1, "less_than": 5}, False),
        ("promotion", {"starts_with": "pro"}, True),
        ("promotion", {"contains": "mot"}, True),
        (["red", "blue"], {"contains": "red"}, True),
        (["red", "blue"], {"contains": "re"}, False),
        ("team", {"in": ["pro", "team"]}, True),
        (None, {"exists": False}, True),
    ],
)
def test_each_operator_has_its_meaning(value: Any, comparison: dict[str, Any], met: bool) -> None:
    compiled = compiled_of({"one": {"match": {"attribute": "it", **comparison}}})
    person = Person({}, {} if value is None else {"it": value}, {}, ())
    assert compiled.evaluate("one", person, 0).holds == met


def test_reasons_are_the_positions_that_made_it_true() -> None:
    compiled = compiled_of({"one": {"match": {"all": [{"event": "A", "at_least": 2}, {"event": "B"}]}}})
    conditions: Conditions = {}
    for position, name in enumerate("ABA", 1):
        compiled.fold(conditions, Event(name, position, position, {}))
    assert compiled.evaluate("one", Person(conditions, {}, {}, ()), 10).because == (3, 1, 2)


def test_who_refers_to_another_audience_is_looked_at_after_it() -> None:
    said = {"b": {"match": {"in_audience": "a"}}, "a": {"match": {"event": "A"}}}
    compiled = compiled_of(said)
    assert compiled.names == ("a", "b")
    assert compiled.in_order(compiled.fold({}, Event("A", 0, 1, {}))) == ("a", "b")
    assert compiled.dependants(["a"]) == ("b",)
