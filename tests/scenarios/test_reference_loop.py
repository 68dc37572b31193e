"""The reference loop, as `make demo` runs it: it meets the truth, ends without a trace, and finds all again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runtime.engines import running
from tests.scenarios.demo import kill_tree, log_position, roundtrip, run, start
from tests.servers import temporary_home, wait_until

USERS = 150


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_home() as found:
        yield found


@pytest.fixture(scope="module")
def told(home: Path) -> str:
    """The output of the demo, run to its end."""
    code, output = run(home, USERS)
    assert code == 0, output
    return output


def test_the_demo_meets_the_truth_and_shows_the_funnel(told: str) -> None:
    for shown in (
        "entered: new app users",
        "sent the push",
        "opened it",
        "converted within 24 h",
        "retargeted in the ad platform",
        "p99",
        "got the push more than once: expected 0, found 0",
        "retargeted more than once: expected 0, found 0",
    ):
        assert shown in told
    assert "✗" not in told


def test_a_rebuild_from_the_log_alone_equals_what_is_live(home: Path, told: str) -> None:
    code, output = roundtrip(home, "rebuild", "--verify")
    assert code == 0, output
    for projection in ("identity", "profile", "membership", "outbound", "definition"):
        assert f"{projection}: " in output
    assert output.count("equal") == 5


def test_a_retargeting_is_traced_back_to_what_the_person_did_first(home: Path, told: str) -> None:
    code, output = roundtrip(
        home, "deliveries", "list", "--status", "delivered", "--connection", "retargeting"
    )
    assert code == 0, output
    ads = next(json.loads(line) for line in output.splitlines() if line.startswith("{"))
    code, output = roundtrip(home, "trace", ads["id"], "--json")
    assert code == 0, output
    found = json.loads(output)
    way = _way(found["circle"], found["place"])
    assert [step["what"] for step in way] == ["record", "entered", "sent", "record", "entered", "sent"]
    pushed, answered, asked = way[2], way[3], way[5]
    assert answered["answers"] == pushed["id"]
    assert answered["inferred"] is False
    assert asked["id"] == ads["id"]
    assert [step["at"] for step in way] == sorted(step["at"] for step in way)
    assert any(step["name"] == "delivered by retargeting" for step in asked["then"])
    code, output = roundtrip(home, "trace", ads["id"])
    assert code == 0, output
    assert "←" in output and "sent by retargeting" in output
    code, output = roundtrip(home, "trace", "that one")
    assert code == 2
    assert "is neither an outbound record's id nor a position" in output


def _way(branch: dict[str, Any], place: int) -> list[dict[str, Any]]:
    """The steps from the root to the one at a place; empty where it is not below."""
    if branch["position"] == place:
        return [branch]
    for one in branch["then"]:
        if way := _way(one, place):
            return [branch, *way]
    return []


def test_a_rebuild_names_what_differs(home: Path, told: str) -> None:
    code, output = roundtrip(home, "status")
    assert code == 0, output
    process = start(home, USERS)
    try:
        wait_until(lambda: log_position(home) > 0, "the demo to be up")
        engines = running(home)
        assert engines is not None
        with psycopg.connect(engines.database_url.replace("+psycopg", "")) as connection:
            connection.execute(
                "UPDATE membership SET entered_at = entered_at + 1 WHERE profile ="
                " (SELECT profile FROM membership ORDER BY 1 LIMIT 1)"
            )
    finally:
        kill_tree(process)
    code, output = roundtrip(home, "rebuild", "--verify")
    assert code == 1, output
    assert "membership: " in output
    assert "differs, first at audience=" in " ".join(output.split())


def test_another_story_in_the_same_home_is_refused_with_the_mend(home: Path, told: str) -> None:
    code, output = run(home, USERS + 1)
    assert code == 2
    assert f"--users {USERS}" in output
    assert "make clean" in output
