"""Bulk says what the stream says: a compiled audience against the incremental evaluator and the naive meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audiences.definition import Audience
from domain.audiences.evaluation import Conditions, Event, Person, compile_audiences
from domain.audiences.events import MOST_COUNTED
from domain.audiences.flat import flatten
from domain.audiences.matching import matcher, value_at
from domain.audiences.sequences import SEQUENCE_LIMIT
from domain.audiences.sql.compiler import compile_audience
from domain.consent import NO_POLICIES, Policies
from domain.workspace import Workspace
from tests.examples import examples
from tests.unit.lake_tables import lake, values
from tests.unit.naive_audiences import Happened, Known, holds
from tests.unit.test_audiences_evaluation import HOUR, definitions, histories, verdicts

ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(["plan", "age"]),
        st.sampled_from(["pro", "free", 17, 18, None]),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=4,
)
CONSENTS = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=3)
PEOPLE = st.lists(st.tuples(histories(), ATTRIBUTES, CONSENTS, st.integers(1, 3)), min_size=1, max_size=4)
DEFAULTS = st.sampled_from(["given", "refused", "unknown"])
JURISDICTIONS = {
    "pros": {"where": {"plan": {"is": "pro"}}},
    "minors": {"where": {"plan": {"is_not": "pro"}, "age": {"less_than": 18}}},
    "ageless": {"where": {"age": {"exists": False}}},
}
POLICIES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "jurisdictions": st.just(JURISDICTIONS),
            "purposes": st.fixed_dictionaries(
                {
                    "push": st.fixed_dictionaries(
                        {
                            "default": DEFAULTS,
                            "in": st.dictionaries(st.sampled_from(list(JURISDICTIONS)), DEFAULTS),
                        }
                    )
                }
            ),
        }
    ),
)
MOMENTS = st.sampled_from([0, 1, HOUR, 2 * HOUR, 5 * HOUR, 9 * HOUR, 24 * HOUR, 100 * HOUR])


def members(
    tables: dict[str, list[dict[str, Any]]],
    said: dict[str, Any],
    now: int,
    policies: Policies = NO_POLICIES,
) -> dict[str, set[str]]:
    """Who is in each audience, by the compiled queries."""
    audiences = {name: Audience.model_validate(body) for name, body in said.items()}
    found: dict[str, set[str]] = {name: set() for name in said}
    connection = lake(tables)
    for name in said:
        query = compile_audience(audiences, name, now, policies=policies).sql(dialect="duckdb")
        found[name] = {profile for (profile,) in connection.execute(query).fetchall()}
    return found


@given(definitions(), PEOPLE, MOMENTS, POLICIES)
@examples(100)
def test_bulk_is_stream_is_the_naive_meaning(
    said: dict[str, Any], people: list[Any], later: int, defaults: dict[str, Any]
) -> None:
    policies = Workspace.model_validate({"workspace": "w", **defaults}).policies
    tables: dict[str, list[dict[str, Any]]] = {"events": [], "attributes": [], "consents": [], "identity": []}
    audiences = {name: Audience.model_validate(body) for name, body in said.items()}
    compiled = compile_audiences(audiences, policies=policies)
    now = max((at for history, *_ in people for at, _ in history), default=0) + later
    stream: dict[str, set[str]] = {name: set() for name in said}
    naive: dict[str, set[str]] = {name: set() for name in said}
    for number, (history, attributes, consents, nodes) in enumerate(people):
        profile = f"person-{number}"
        names = [f"{profile}/{n}" for n in range(nodes)]
        tables["identity"] += [{"node": node, "profile": profile} for node in names]
        conditions: Conditions = {}
        for index, (_, event) in enumerate(history):
            compiled.fold(conditions, event)
            row = {"position": event.position, "occurred_at": event.occurred_at, "name": event.name}
            tables["events"].append(row | {"node": names[index % nodes]} | values(event.properties))
        held: dict[str, tuple[Any, Any]] = {}
        for position, (name, value, priority, at) in enumerate(attributes, 100):
            rank = (priority, at, position)
            if name not in held or held[name][0] < rank:
                held[name] = (rank, value)
            row = {"position": position, "occurred_at": at, "priority": priority, "name": name}
            tables["attributes"].append(row | {"node": names[position % nodes]} | values({name: value}))
        said_yes: dict[str, tuple[Any, bool]] = {}
        for position, (yes, at) in enumerate(consents, 200):
            if "push" not in said_yes or said_yes["push"][0] < (at, position):
                said_yes["push"] = ((at, position), yes)
            row = {"position": position, "occurred_at": at, "purpose": "push", "given": yes}
            tables["consents"].append(row | {"node": names[position % nodes]})
        known_attributes = {name: value for name, (_, value) in held.items()}
        consent = {purpose: yes for purpose, (_, yes) in said_yes.items()}
        for name, inside in verdicts(
            compiled, Person(conditions, known_attributes, consent, (), profile), now
        )[0].items():
            if inside:
                stream[name].add(profile)
        known = Known(
            [Happened(*event) for _, event in history], known_attributes, consent, profile, defaults
        )
        for name in said:
            if holds(said, name, known, now):
                naive[name].add(profile)
    assert stream == naive, json.dumps(said)
    assert members(tables, said, now, policies) == stream, json.dumps(said)


PATHS = st.sampled_from(["a", "b", "a.b", "a.b.c"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 0.5, 2**60, 2**60 + 1, -0.0]),
    st.sampled_from(["", "x", "xy", "1"]),
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["a", "b", "a.b", "c"]),
    st.recursive(
        st.one_of(SCALARS, st.lists(SCALARS, max_size=3)),
        lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=3,
)
OPERANDS = st.one_of(st.booleans(), st.sampled_from([0, 1, 0.5, 2**60]), st.sampled_from(["x", "1", "y"]))
ORDERED = st.one_of(st.sampled_from([0, 1, 0.5]), st.sampled_from(["x", "1"]))
COMPARISONS = st.one_of(
    st.builds(lambda v: {"is": v}, OPERANDS),
    st.builds(lambda v: {"is_not": v}, OPERANDS),
    st.builds(lambda v: {"in": v}, st.lists(OPERANDS, min_size=1, max_size=3)),
    st.builds(
        lambda w, v: {w: v}, st.sampled_from(["greater_than", "at_least", "less_than", "at_most"]), ORDERED
    ),
    st.builds(lambda v: {"contains": v}, OPERANDS),
    st.builds(lambda v: {"starts_with": v}, st.sampled_from(["x", "1"])),
    st.builds(lambda v: {"exists": v}, st.booleans()),
)


@given(st.lists(DOCUMENTS, min_size=1, max_size=6), PATHS, COMPARISONS)
@examples(200)
def test_every_operator_finds_the_same_values_in_bulk(
    documents: list[dict[str, Any]], path: str, comparison: dict[str, Any]
) -> None:
    said = {
        "event": {"match": {"event": "A", "where": {path: comparison}}},
        "attribute": {"match": {"attribute": path, **comparison}},
    }
    asked = Audience.model_validate(said["attribute"]).match
    wanted = {str(n) for n, one in enumerate(documents) if matcher(asked)(value_at(one, path))}  # type: ignore[arg-type]
    who = [{"position": n, "occurred_at": 0, "node": str(n)} for n in range(len(documents))]
    tables = {
        "identity": [{"node": each["node"], "profile": each["node"]} for each in who],
        "events": [each | {"name": "A"} | values(one) for each, one in zip(who, documents, strict=True)],
        "attributes": [
            each | {"priority": 0, "name": name} | values({name: value})
            for each, one in zip(who, documents, strict=True)
            for name, value in one.items()
        ],
    }
    assert members(tables, said, 0) == {"event": wanted, "attribute": wanted}


def test_what_the_evaluator_no_longer_remembers_does_not_count_in_bulk_either() -> None:
    said = {
        "ignored": {"match": {"event": "A", "then_none": [{"event": "B"}], "within": "1h"}},
        "spent": {"match": {"event": "C", "sum": "n", "at_least": MOST_COUNTED + 1}},
        "between": {"match": {"event": "C", "between": ["1h", "1d"], "at_least": 1}},
    }
    happened: list[tuple[str, int, dict[str, Any]]] = [("A", 0, {})]
    for number in range(SEQUENCE_LIMIT):
        happened += [("A", (10 + number) * HOUR, {}), ("B", (10 + number) * HOUR, {})]
    now = 10_000 * HOUR
    happened += [("C", now - 2 * HOUR, {"n": 1.0})] * 2
    happened += [("C", now, {"n": 1.0})] * MOST_COUNTED
    compiled = compile_audiences({name: Audience.model_validate(body) for name, body in said.items()})
    conditions: Conditions = {}
    rows = []
    for position, (name, at, properties) in enumerate(happened, 1):
        compiled.fold(conditions, Event(name, at, position, properties))
        row = {"position": position, "occurred_at": at, "node": "n", "name": name}
        rows.append(row | values(properties))
    stream = {
        name for name, inside in verdicts(compiled, Person(conditions, {}, {}, ()), now)[0].items() if inside
    }
    bulk = members({"events": rows, "identity": [{"node": "n", "profile": "p"}]}, said, now)
    assert stream == set()
    assert {name for name, profiles in bulk.items() if profiles} == set()


@pytest.mark.parametrize("dialect", ["duckdb", "spark", "trino"])
def test_one_definition_is_written_for_every_engine(dialect: str) -> None:
    import sqlglot

    audience = Audience.model_validate(
        {
            "match": {
                "all": [{"event": "A", "where": {"n": {"at_least": 1}}}, {"attribute": "plan", "is": "pro"}]
            }
        }
    )
    query = compile_audience({"a": audience}, "a", HOUR).sql(dialect=dialect)
    assert sqlglot.parse_one(query, dialect=dialect).find(sqlglot.exp.With)


def test_a_position_bounds_what_counts() -> None:
    audience = {"a": Audience.model_validate({"match": {"event": "A", "at_least": 2}})}
    rows = [
        {"position": position, "occurred_at": 0, "node": "n", "name": "A"} | values({})
        for position in (1, 2, 3)
    ]
    connection = lake({"events": rows, "identity": [{"node": "n", "profile": "p"}]})
    for upto, size in ((1, 0), (2, 1), (None, 1)):
        query = compile_audience(audience, "a", HOUR, upto).sql(dialect="duckdb")
        assert len(connection.execute(query).fetchall()) == size


def test_flattened_values_are_found_under_the_path_that_finds_them() -> None:
    flat = flatten({"a": {"b": 1, "c": {"d": True}}, "a.b": "literal", "l": ["x", 2, None]})
    assert flat.texts == {"a.b": "literal"}
    assert flat.truths == {"a.c.d": True}
    assert flat.lists == {"l": ["t:x", "n:2.0"]}
    assert flat.objects == ["a", "a.c"]
