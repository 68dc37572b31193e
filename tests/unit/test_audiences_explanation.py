"""An explanation says what the evaluator says, clause by clause, and what would change it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from domain.audiences.definition import Audience
from domain.audiences.evaluation import Conditions, Event, Person, compile_audiences
from domain.audiences.explanation import Clause, explain
from tests.examples import examples
from tests.unit.test_audiences_evaluation import HOUR, PEOPLE, definitions, histories, verdicts


def explained(match: dict[str, Any], events: list[Event], now: int = 100 * HOUR, **person: Any) -> Clause:
    audiences = {"it": Audience.model_validate({"match": match})}
    compiled = compile_audiences(audiences)
    conditions: Conditions = {}
    for event in events:
        compiled.fold(conditions, event)
    who = Person(conditions, person.get("attributes", {}), person.get("consent", {}), ())
    return explain(audiences["it"], compiled, who, now)


@given(definitions(), histories(), PEOPLE)
@examples(150)
def test_it_says_what_the_evaluator_says(
    said: dict[str, Any], history: Any, known: tuple[dict[str, Any], dict[str, bool]]
) -> None:
    audiences = {name: Audience.model_validate(body) for name, body in said.items()}
    compiled = compile_audiences(audiences)
    conditions: Conditions = {}
    for _, event in history:
        compiled.fold(conditions, event)
    now = max((at for at, _ in history), default=0) + HOUR
    found, _ = verdicts(compiled, Person(conditions, *known, ()), now)
    person = Person(conditions, *known, {name for name, inside in found.items() if inside})
    for name, audience in audiences.items():
        assert explain(audience, compiled, person, now).holds == found[name]


BOUGHT = [
    Event("Order Completed", HOUR, 7, {"total": 20.0}),
    Event("Order Completed", 99 * HOUR, 9, {"total": 5}),
]


@pytest.mark.parametrize(
    ("match", "holds", "value", "change", "because"),
    [
        ({"event": "Order Completed", "at_least": 3}, False, "2", "1 more × 'Order Completed'", ()),
        (
            {"event": "Order Completed", "within": "2h"},
            True,
            "1 or more",
            "'Order Completed' falls out of that time",
            (9,),
        ),
        (
            {"event": "Order Completed", "sum": "total", "at_least": 30},
            False,
            "25 of 2 events",
            "at least 30",
            (),
        ),
        ({"event": "Order Completed", "first": {"within": "1h"}}, False, "position 7", "another first", ()),
        ({"event": "Search", "at_most": 0}, True, "0", "1 more × 'Search'", ()),
        (
            {"event": "Order Completed", "then_none": [{"event": "Search"}], "within": "1d"},
            True,
            "1 of them unanswered",
            "'Search' that happened in time arrives late",
            (7,),
        ),
        ({"attribute": "plan", "is": "pro"}, False, "not there", "attribute 'plan' is 'pro'", ()),
        ({"consent": "push"}, False, "never said", "consent to 'push' given", ()),
    ],
)
def test_each_clause_has_its_value_its_records_and_what_would_change_it(
    match: dict[str, Any], holds: bool, value: str, change: str, because: tuple[int, ...]
) -> None:
    clause = explained(match, BOUGHT)
    assert clause.holds == holds
    assert value in clause.value
    assert change in clause.change
    assert clause.because == because


def test_of_all_that_must_hold_it_names_those_that_do_not() -> None:
    clause = explained(
        {"all": [{"event": "Order Completed"}, {"consent": "push"}, {"event": "Search"}]}, BOUGHT
    )
    assert (clause.holds, clause.value) == (False, "1 of 3 hold")
    assert clause.change == "consent to 'push' given and 1 more × 'Search'"
    assert [part.holds for part in clause.parts] == [True, False, False]
