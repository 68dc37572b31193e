"""What destinations are told as a changed workspace takes effect."""

from __future__ import annotations

from typing import Any

from domain.identity_rules import DEFAULT_RULES
from domain.settling import settling_of
from domain.workspace import Workspace
from runtime.definitions import plan_of
from tests.unit.memory import HOUR, Memory, record, rows


def workspace(audience: str) -> Workspace:
    said: dict[str, Any] = {
        "workspace": "shop",
        "feeds": {"app": {"format": "files"}},
        "audiences": {
            "pros": {"match": {"attribute": "plan", "is": "pro"}},
            "swiss": {"match": {"attribute": "country", "is": "CH"}},
        },
        "connections": {
            "ads": {
                "connector": "meta_custom_audience",
                "audience": audience,
                "fields": {"id": "identifier.user_id"},
                "settings": {"audience_id": "1"},
                "secrets": {"access_token": {"env": "TOKEN"}},
            }
        },
    }
    return Workspace.model_validate(said)


def test_a_connection_of_another_audience_takes_out_who_is_only_in_the_one_before() -> None:
    memory = Memory(plan_of(workspace("pros")))
    people = {"ann": {"plan": "pro"}, "bea": {"plan": "pro", "country": "CH"}, "cem": {"country": "CH"}}
    memory.take_in(
        rows(*[(HOUR, record("identify", [("user_id", n)], HOUR, traits=dict(t))) for n, t in people.items()])
    )
    told = len(memory.outbound())
    after = plan_of(workspace("swiss"))
    memory.take_effect(
        after, settling_of(after, 9, 2 * HOUR, [("connection", "ads")]), [], lambda position: DEFAULT_RULES
    )
    changes = [(one["change"], one["fields"]) for one in memory.outbound()[told:]]
    assert sorted(changes, key=str) == [("add", {"id": "cem"}), ("remove", {"id": "ann"})]
