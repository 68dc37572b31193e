"""Tracking plans: what a record is judged by, schemas that would not end, and plans out of history."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.inference import NAMES_LIMIT, Inference
from domain.json_schema import DEPTH_LIMIT, SchemaError, compile_schema
from domain.records import Identifier, Record, entry_of, record_of
from domain.tracking_plan import PlanOfFeed, TrackingPlan, Verdict
from domain.workspace import Workspace
from runtime.admission import admit

ORDER = {
    "type": "object",
    "required": ["total"],
    "properties": {
        "total": {"type": "number", "minimum": 0},
        "coupon": {"type": "string", "pattern": "^[A-Z]+$"},
    },
    "additionalProperties": False,
}


def record(properties: dict[str, Any], name: str = "Order Completed", **context: Any) -> Record:
    body = {"properties": properties, "context": context}
    return Record(
        feed="app",
        message_id="m-1",
        type="track",
        name=name,
        occurred_at=1,
        identifiers=(Identifier("user_id", "u-1"),),
        body=msgspec.Raw(json.dumps(body).encode()),
        properties_at="properties",
    )


def plan(**rules: Any) -> PlanOfFeed:
    events = {"events": {"Order Completed": {"schema": ORDER}}}
    return PlanOfFeed("shop", TrackingPlan.model_validate({"feeds": ["app"]} | events | rules))


def judged(properties: dict[str, Any], **rules: Any) -> Verdict | None:
    return plan(**rules).judge(record(properties))


def test_what_is_as_planned_passes() -> None:
    assert judged({"total": 12.5}) is None
    assert plan().judge(record({"anything": 1}, "Page Seen")) is None


def test_a_violation_names_its_place_and_keyword_and_no_value() -> None:
    verdict = judged({"total": "ann@example.com", "coupon": "secret", "bob@example.com": 1})
    assert verdict is not None
    assert verdict.policy == "quarantine"
    assert set(verdict.violations) == {
        ("/total", "type"),
        ("/coupon", "pattern"),
        ("", "additionalProperties"),
    }
    assert "example.com" not in verdict.reason
    assert "secret" not in verdict.reason
    missing = judged({})
    assert missing is not None
    assert missing.violations == (("/total", "required"),)


def test_names_that_the_schema_does_not_know_are_not_told() -> None:
    by_person = {"type": "object", "additionalProperties": {"type": "object", "required": ["at"]}}
    [violation] = compile_schema(by_person).violations({"ann@example.com": {}})
    assert violation.pointer == "/*/at"


def test_each_version_has_its_schema_and_the_highest_is_the_current_one() -> None:
    versions = {"1.9": {"schema": ORDER}, "1.10": {"schema": {"required": ["currency"]}}}
    rules = plan(events={"Order Completed": {"versions": versions}})
    assert rules.judge(record({"total": 1}, protocols={"event_version": "1.9"})) is None
    verdict = rules.judge(record({"total": 1}))
    assert verdict is not None
    assert (verdict.version, verdict.violations) == ("1.10", (("/currency", "required"),))
    unknown = rules.judge(record({"total": 1}, protocols={"event_version": 7}))
    assert unknown is not None
    assert unknown.violations == (("", "unknown_version"),)


def test_events_that_the_plan_does_not_name_are_as_the_plan_says() -> None:
    verdict = plan(unplanned="block").judge(record({}, "Sneaked In"))
    assert verdict is not None
    assert (verdict.policy, verdict.violations) == ("block", (("", "unplanned"),))


def test_each_policy_gives_one_entry_for_each_record() -> None:
    good, bad = record({"total": 1}), record({"total": "x"})
    for policy in ("block", "quarantine", "mark"):
        entries, aside = admit({"app": plan(on_violation=policy)}, [good, bad], 5)
        assert entries[0] == entry_of(good)
        assert len(entries) == 2
        assert len(aside) == (policy == "quarantine")
        if policy == "mark":
            assert record_of(entries[1].state).violations == ("/total type",)
            assert entries[1].stream_id == entry_of(bad).stream_id
        else:
            assert (
                entries[1].topic == {"block": "tracking_plan.blocked", "quarantine": "quarantine.app"}[policy]
            )
            assert entries[1].subject is None
    assert aside == []


def test_a_record_of_a_feed_without_a_plan_is_what_it_was() -> None:
    bad = record({"total": "x"})
    assert admit({"other": plan()}, [bad], 5).entries == [entry_of(bad)]


ENDLESS: dict[str, dict[str, Any]] = {
    "a reference to itself": {"$ref": "#"},
    "a circle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}},
    },
    "two to the fortieth": {
        "$ref": "#/$defs/s0",
        "$defs": {f"s{n}": {"anyOf": [{"$ref": f"#/$defs/s{n + 1}"}] * 2} for n in range(40)} | {"s40": {}},
    },
    "a look-around": {"pattern": "^(?=a)"},
    "a back-reference": {"pattern": r"(a+)\1"},
    "a pattern that grows": {"pattern": "((a{1,100}){1,100}){1,100}"},
    "a reference elsewhere": {"$ref": "https://example.com/schema.json"},
    "a dialect of someone's own": {"$schema": "https://example.com/dialect"},
    "a dynamic reference": {"$dynamicRef": "#node"},
    "an id within": {"properties": {"a": {"$id": "https://example.com/a"}}},
    "a reference to nothing": {"$ref": "#/$defs/gone"},
    "no schema": {"type": "nonsense"},
    "very deep": json.loads('{"items":' * (DEPTH_LIMIT + 5) + "{}" + "}" * (DEPTH_LIMIT + 5)),
    "very large": {"properties": {f"p{n}": {"type": "string"} for n in range(6_000)}},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", ENDLESS)
def test_a_schema_that_may_not_end_is_refused_with_the_workspace(case: str) -> None:
    document = {"workspace": "w", "feeds": {"app": {"format": "files"}}}
    plans = {"p": {"feeds": ["app"], "events": {"E": {"schema": ENDLESS[case]}}}}
    with pytest.raises(ValueError, match="tracking_plans"):
        Workspace.model_validate(document | {"tracking_plans": plans})
    with pytest.raises(SchemaError):
        compile_schema(ENDLESS[case])


@pytest.mark.timeout(60)
def test_a_pattern_that_would_backtrack_for_ever_is_linear_here() -> None:
    schema = compile_schema({"properties": {"a": {"pattern": "^(a+)+$"}}})
    assert schema.violations({"a": "a" * 30_000 + "!"}) == (("/a", "pattern"),)


@pytest.mark.parametrize(
    "plans", [{"a": {"feeds": ["gone"]}}, {"a": {"feeds": ["app"]}, "b": {"feeds": ["app"]}}]
)
def test_a_plan_is_for_a_declared_feed_and_a_feed_has_one(plans: dict[str, Any]) -> None:
    document = {"workspace": "w", "feeds": {"app": {"format": "files"}}, "tracking_plans": plans}
    with pytest.raises(ValueError, match="feed"):
        Workspace.model_validate(document)


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=5), _JSON, max_size=4), min_size=1, max_size=5))
def test_what_a_plan_was_inferred_from_keeps_to_it(samples: list[dict[str, Any]]) -> None:
    found = Inference()
    records = [record(sample) for sample in samples]
    for one in records:
        found.take_in(one)
    inferred = PlanOfFeed("inferred", TrackingPlan.model_validate(found.plan(["app"])))
    assert [inferred.judge(one) for one in records] == [None] * len(records)


def test_names_that_are_values_do_not_become_a_plan() -> None:
    found = Inference()
    found.take_in(record({"by_person": {f"p{n}@example.com": 1 for n in range(NAMES_LIMIT + 1)}}))
    assert "example.com" not in json.dumps(found.plan(["app"]))
