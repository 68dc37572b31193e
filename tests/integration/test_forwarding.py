"""Events that go out as they come: with what was declared of the person, to whom it may be told, once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from adapters.database import open_database
from adapters.log.append import append
from domain.records import Entry, entry_of
from domain.workspace import Workspace
from feeds.segment import parse_call
from runtime.connection_preview import preview_connection
from runtime.definitions import WorkspaceError, apply_workspace, open_definitions
from runtime.engines import running
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.workspace_file import read_workspace
from tests.integration.conftest import WRITE_KEY, Roundtrip
from tests.keys import KEYS, said
from tests.servers import wait_until

HERE = Path(__file__).parent
MIRROR: dict[str, Any] = {
    "connector": "segment",
    "events": ["Lamp Lit", {"event": "Lamp Sold", "where": {"price": {"at_least": 10}}}],
    "feeds": ["app"],
    "purpose": "mirroring",
    "fields": {
        "user_id": "identifier.user_id",
        "mail": "identifier.email",
        "plan": "attribute.plan",
        "ads": "consent.ads",
    },
    "requires": ["user_id"],
    "properties": {"colour": "lamp.colour", "price": "price"},
}


def calls(run: str) -> list[dict[str, Any]]:
    """Ada agrees to mirroring, Bob does not; Cid, known only by a device at first, turns out to be Ada."""
    agrees = {"consent": {"categoryPreferences": {"mirroring": True, "ads": False}}}
    ada, bob = f"ada-{run}", f"bob-{run}"
    lamp = {"lamp": {"colour": "red", "watt": 5}, "price": 12.5, "note": "nobody's business"}
    traits = {"plan": "pro", "email": f"{run}@example.com", "age": 30}
    return [
        {"type": "identify", "messageId": f"1-{run}", "userId": ada, "traits": traits, "context": agrees},
        {"type": "identify", "messageId": f"2-{run}", "userId": bob, "traits": {"plan": "free"}},
        {"type": "track", "messageId": f"3-{run}", "userId": ada, "event": "Lamp Lit", "properties": lamp},
        {"type": "track", "messageId": f"4-{run}", "userId": bob, "event": "Lamp Lit", "properties": lamp},
        {"type": "track", "messageId": f"5-{run}", "userId": ada, "event": "Lamp Sold", "properties": lamp},
        {
            "type": "track",
            "messageId": f"6-{run}",
            "userId": ada,
            "event": "Lamp Sold",
            "properties": {"price": 9},
        },
        {"type": "track", "messageId": f"7-{run}", "userId": ada, "event": "Lamp Broken"},
    ]


@pytest.fixture
def mirrored(roundtrip: Roundtrip, tmp_path: Path) -> Iterator[Roundtrip]:
    """A Roundtrip that sends its own events to another feed of itself."""

    def apply(file: Path) -> None:
        command = [sys.executable, "-m", "runtime.cli", "apply", str(file)]
        subprocess.run(command, env=dict(roundtrip.ours.environment), check=True, capture_output=True)

    shutil.copy(HERE / "order.v2.json", tmp_path)
    workspace = yaml.safe_load((HERE / "workspace.yaml").read_text())
    mirror = MIRROR | {
        "settings": {"base_url": roundtrip.url},
        "secrets": {"write_key": {"env": "ROUNDTRIP_PLANNED_WRITE_KEY"}},
        "allow_private": True,
    }
    file = tmp_path / "workspace.yaml"
    file.write_text(yaml.safe_dump(workspace | {"connections": {"mirror": mirror}}))
    apply(file)
    yield roundtrip
    apply(HERE / "workspace.yaml")
    roundtrip.settle()


def test_an_event_arrives_with_what_was_declared_and_nothing_else(mirrored: Roundtrip) -> None:
    run = uuid4().hex
    mirrored.settle()
    answer = mirrored.http.post("/v1/batch", json={"batch": calls(run)}, auth=(WRITE_KEY, ""))
    assert answer.status_code == 200, answer.text
    engines = running(mirrored.ours.home)
    assert engines is not None
    url = engines.database_url

    def arrived() -> list[dict[str, Any]]:
        return [one for one in said(url, "track.") if one["feed"] == "planned" and run in str(one["body"])]

    wait_until(lambda: len(arrived()) >= 2, "the events to come back in")
    mirrored.settle()
    lit, sold = sorted(arrived(), key=lambda one: str(one["name"]))
    assert (lit["name"], sold["name"]) == ("Lamp Lit", "Lamp Sold")
    assert lit["body"]["userId"] == f"ada-{run}"
    assert lit["body"]["properties"] == {"colour": "red", "price": 12.5}
    traits = {"mail": f"{run}@example.com", "plan": "pro", "ads": False}
    assert lit["body"]["context"] == {"traits": traits}
    wait_until(
        lambda: mirrored.ours.status()["outbound"]["mirror"] == {"delivered": 2},
        "every outcome to be in the log",
    )


def workspace(**mirror: Any) -> Workspace:
    settings = {"base_url": "https://cdp.example.com"}
    secrets = {"write_key": {"env": "MIRROR_KEY"}}
    return Workspace.model_validate(
        {
            "workspace": "test",
            "clock": "simulated",
            "feeds": {"app": {"format": "files"}},
            "connections": {"mirror": MIRROR | {"settings": settings, "secrets": secrets} | mirror},
        }
    )


def read(call: dict[str, Any]) -> Entry:
    [record] = parse_call("app", call["type"], json.dumps(call).encode(), 10**15)
    return entry_of(record)


def test_a_rebuild_says_the_same_and_a_preview_why_an_event_is_not_sent(
    database: str, tmp_path: Path
) -> None:
    engine = open_database(database, application="test", keys=KEYS)
    entries = [read(call) for call in calls("x")]
    try:
        with open_definitions(database) as definitions:
            apply_workspace(engine, definitions, workspace())
            with engine.begin() as connection:
                first = append(connection, entries, advance_to=10**15).appended[0].position
            drain(Pipeline(engine, definitions), 2**62)
            sent = said(database, "outbound.requested")
            assert [(one["event"], one["change"]) for one in sent] == [
                ("Lamp Lit", "event"),
                ("Lamp Sold", "event"),
            ]
            task = Task(database, KEYS, tmp_path / "rebuild", jobs=1, range_rows=700)
            found = verify_live(engine, task, definitions, lambda at, goal: None)
            assert [one for one in found.tables if not one.equal] == []
            shown = preview_connection(engine, "mirror", str(first + 2), {})
            assert [one.properties for one in shown.records] == [{"colour": "red", "price": 12.5}]
            bobs = preview_connection(engine, "mirror", str(first + 3), {})
            assert (bobs.requests, bobs.why_not) == ((), "no consent to 'mirroring'")
            cheap = preview_connection(engine, "mirror", str(first + 5), {})
            assert "none of the events" in cheap.why_not
            # All properties, of half of the people.
            apply_workspace(engine, definitions, workspace(properties="all", sample=50, events=["*"]))
            agrees, _, lights, *_ = calls("x")
            entries = [
                read(call | {"messageId": f"{call['messageId']}-{n}", "userId": f"user-{n}", "traits": {}})
                for n in range(40)
                for call in (agrees, lights)
            ]
            with engine.begin() as connection:
                append(connection, entries, advance_to=10**15)
            drain(Pipeline(engine, definitions), 2**62)
            drain(Pipeline(engine, definitions), 2**62)
            later = said(database, "outbound.requested")[2:]
            assert 5 < len(later) < 35
            assert later[0]["properties"] == calls("x")[2]["properties"]
    finally:
        engine.dispose()


def test_a_connector_that_takes_no_events_is_named_with_those_that_do(tmp_path: Path) -> None:
    file = tmp_path / "roundtrip.yaml"
    declared = {
        "workspace": "test",
        "connections": {"ads": {"connector": "meta_custom_audience", "events": ["A"], "fields": {}}},
    }
    file.write_text(yaml.safe_dump(declared))
    with pytest.raises(WorkspaceError, match=r"does not take events; those that do are: .*segment"):
        read_workspace(file)
    declared["connections"]["ads"] |= {"audience": "a"}  # type: ignore[index]
    file.write_text(yaml.safe_dump(declared))
    with pytest.raises(WorkspaceError, match=r"roundtrip.yaml:\d+.*'audience', or 'events'"):
        read_workspace(file)
