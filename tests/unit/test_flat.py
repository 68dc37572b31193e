"""What lies in the lake is as good as the event itself to the conditions that remember events."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from domain.audiences.definition import Audience
from domain.audiences.evaluation import Conditions, Event, compile_audiences
from domain.audiences.flat import flatten, unflattened
from domain.audiences.sql.remembered import remembered
from domain.traits.leaf import TraitLeaf
from tests.unit.lake_tables import lake, values
from tests.unit.test_audiences_sql import COMPARISONS, DOCUMENTS, PATHS


def as_in_the_lake(properties: dict[str, Any], paths: frozenset[str]) -> dict[str, Any]:
    flat = flatten(properties)
    found = {
        path: unflattened(
            flat.texts.get(path),
            flat.numbers.get(path),
            flat.truths.get(path),
            flat.lists.get(path),
            path in flat.objects,
        )
        for path in paths
    }
    return {path: value for path, value in found.items() if value is not None}


@given(DOCUMENTS, PATHS, PATHS, COMPARISONS)
def test_conditions_remember_the_same_of_an_event_as_it_lies_in_the_lake(
    properties: dict[str, Any], asked: str, other: str, comparison: dict[str, Any]
) -> None:
    where = {asked: comparison}
    said: dict[str, Any] = {
        "count": {"event": "A", "where": where},
        "sum": {"event": "A", "sum": other, "at_least": 1},
        "last": {"event": "A", "last": {"where": where}},
        "sequence": {"event": "A", "where": where, "then": [{"event": "A", "same": other}], "within": "1h"},
    }
    compiled = compile_audiences({n: Audience.model_validate({"match": one}) for n, one in said.items()})
    leaves = [leaf for leaf in compiled.asked_by(said) if not isinstance(leaf, TraitLeaf)]
    paths = frozenset().union(*(leaf.paths for leaf in leaves))
    live: Conditions = {}
    bulk: Conditions = {}
    compiled.fold(live, Event("A", 1, 1, properties))
    compiled.fold(bulk, Event("A", 1, 1, as_in_the_lake(properties, paths)))
    assert bulk == live
    row = {"position": 1, "occurred_at": 1, "node": "n", "name": "A"} | values(properties)
    for leaf in leaves:
        told = remembered([leaf.condition]).sql(dialect="duckdb")
        read = lake({"events": [row]}).execute(f"SELECT * FROM events e WHERE {told}").fetchall()
        assert read or leaf.id not in live
