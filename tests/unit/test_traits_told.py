"""What destinations are told of computed traits: the value with the person, and another one when it changes."""

from __future__ import annotations

from typing import Any

from domain.workspace import Workspace
from runtime.definitions import plan_of
from tests.unit.memory import HOUR, Memory, record, rows

ANN = ("user_id", "ann")
DAY = 24 * HOUR


def memory(compute: dict[str, Any]) -> Memory:
    said = {
        "workspace": "shop",
        "feeds": {"app": {"format": "files"}},
        "traits": {"spent": {"event": "Order Completed"} | compute},
        "audiences": {"known": {"match": {"attribute": "plan", "exists": True}}},
        "connections": {
            "crm": {
                "connector": "meta_custom_audience",
                "audience": "known",
                "fields": {"id": "identifier.user_id", "spent": "trait.spent"},
                "requires": ["id"],
                "settings": {"audience_id": "1"},
                "secrets": {"access_token": {"env": "TOKEN"}},
            }
        },
    }
    return Memory(plan_of(Workspace.model_validate(said)))


def bought(at: int, total: float) -> Any:
    return at, record("track", [ANN], at, name="Order Completed", properties={"total": total})


def told(memory: Memory) -> list[tuple[object, Any]]:
    return [(one["change"], one["fields"]) for one in memory.outbound()]


def test_a_destination_is_told_of_a_trait_and_of_every_change() -> None:
    one = memory({"compute": "sum", "of": "total"})
    one.take_in(rows((HOUR, record("identify", [ANN], HOUR, traits={"plan": "pro"}))))
    one.take_in(rows(bought(2 * HOUR, 10), bought(3 * HOUR, 0), first=2))
    one.take_in(rows(bought(4 * HOUR, 5.5), first=4))
    assert told(one) == [
        ("add", {"id": "ann", "spent": 0}),
        ("remove", {"id": "ann", "spent": 0}),
        ("add", {"id": "ann", "spent": 10}),
        ("remove", {"id": "ann", "spent": 10}),
        ("add", {"id": "ann", "spent": 15.5}),
    ]


def test_it_is_told_when_time_alone_changes_the_trait() -> None:
    one = memory({"compute": "count", "within": "2d"})
    one.take_in(
        rows(
            (HOUR, record("identify", [ANN], HOUR, traits={"plan": "pro"})),
            bought(2 * HOUR, 1),
            bought(DAY, 1),
        )
    )
    one.take_in(rows((4 * DAY, None), first=4))
    assert [fields["spent"] for change, fields in told(one) if change == "add"] == [0, 1, 2, 1, 0]


def test_days_go_by_for_whom_a_destination_knows_alone() -> None:
    one = memory({"compute": "time_since"})
    one.take_in(rows(bought(HOUR, 1)))
    one.take_in(rows((3 * DAY, None), first=2))
    assert told(one) == []
    one.take_in(rows((3 * DAY, record("identify", [ANN], 3 * DAY, traits={"plan": "pro"})), first=3))
    one.take_in(rows((5 * DAY, None), first=4))
    assert [fields["spent"] for change, fields in told(one) if change == "add"] == [2, 3, 4]
