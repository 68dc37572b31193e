"""Tracking plans at the doors: HTTP and files. What is not as planned is blocked, put aside or marked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import yaml

from adapters.database import open_database
from adapters.quarantine import Quarantined, find_aside, put_aside, put_asides
from domain.records import derive_id
from domain.workspace import Workspace
from runtime.definitions import WorkspaceError
from runtime.engines import running
from runtime.workspace_file import read_workspace
from tests.integration.conftest import PLANNED_WRITE_KEY, Roundtrip
from tests.integration.importing import FEEDS, Command, declare, records
from tests.keys import KEYS, opened
from tests.servers import REPOSITORY

CRM = {"required": ["plan"], "properties": {"plan": {"enum": ["free", "pro"]}}}


def call(event: str, id: str, version: int | None = None, **properties: Any) -> dict[str, Any]:
    context = {} if version is None else {"protocols": {"event_version": version}}
    said = {"type": "track", "event": event, "userId": "u-1", "messageId": id}
    return said | {"properties": properties, "context": context}


def test_each_call_of_a_batch_is_judged_by_its_event_and_version(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    calls = [
        call("Order Completed", f"good-{run}", total=1, currency="EUR"),
        call("Order Completed", f"blocked-{run}", total="much", currency="EUR"),
        call("Order Completed", f"older-{run}", version=1, total=1),
        call("Cart Filled", f"aside-{run}", coupon="secret"),
        call("Page Seen", f"marked-{run}"),
        call("Not Planned", f"free-{run}"),
    ]
    for _ in range(2):
        answer = roundtrip.http.post("/v1/batch", json={"batch": calls}, auth=(PLANNED_WRITE_KEY, ""))
        assert answer.status_code == 200, answer.text
    kept = {name: roundtrip.rows(f"{name}-{run}") for name in ("good", "older", "marked", "free")}
    assert [len(rows) for rows in kept.values()] == [1, 1, 1, 1]
    assert kept["marked"][0]["violations"] == ["/path required"]
    assert "violations" not in kept["good"][0]
    assert roundtrip.rows(f"blocked-{run}") == roundtrip.rows(f"aside-{run}") == []
    engines = running(roundtrip.ours.home)
    assert engines is not None
    blocked = derive_id("tracking_plan", "planned", f"blocked-{run}")
    with psycopg.connect(engines.database_url.replace("+psycopg", "")) as connection:
        told = connection.execute("SELECT topic, state FROM log WHERE stream_id = %s", (blocked,)).fetchall()
    [(topic, state)] = told
    assert topic == "tracking_plan.blocked"
    assert json.loads(state) == {
        "plan": "shop",
        "feed": "planned",
        "event": "'Order Completed'",
        "version": "2",
        "violations": [["/total", "type"]],
    }
    engine = open_database(engines.database_url, application="test", keys=KEYS)
    with engine.connect() as ours:
        item = find_aside(ours, derive_id("quarantine", "planned", "tracking_plan", f"aside-{run}"))
    engine.dispose()
    assert item is not None
    assert (item.code, "/total (required)" in item.reason, "secret" in item.reason) == (
        "tracking_plan",
        True,
        False,
    )
    assert json.loads(item.body)["body"]["properties"] == {"coupon": "secret"}


def test_a_plan_is_inferred_from_history_and_can_be_declared(roundtrip: Roundtrip) -> None:
    for n in range(3):
        said = call("Tea Poured", f"tea-{uuid4().hex}", cups=n, kind="green")
        roundtrip.http.post("/v1/track", json=said, auth=(PLANNED_WRITE_KEY, ""))
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "plan", "infer", "--feed", "planned"],
        env={**os.environ, "ROUNDTRIP_HOME": str(roundtrip.ours.home), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    feeds = {"planned": {"format": "files"}}
    inferred = Workspace.model_validate({"workspace": "w", "feeds": feeds, **document})
    schema = inferred.tracking_plans["inferred"].events["Tea Poured"].versions["1"].json_schema
    assert schema["properties"] == {"cups": {"type": "integer"}, "kind": {"type": "string"}}
    assert schema["required"] == ["cups", "kind"]


@pytest.mark.parametrize("policy", ["block", "quarantine"])
def test_rows_of_a_file_are_judged_too(policy: str, database: str, nats_url: str, tmp_path: Path) -> None:
    plan = {"feeds": ["crm"], "on_violation": policy, "traits": {"schema": CRM}}
    declare(database, FEEDS | {"tracking_plans": {"crm": plan}})
    command = Command(database, nats_url, tmp_path)
    file = tmp_path / "users.csv"
    file.write_text("user,plan\nu-1,pro\nu-2,gold\nu-3,free\n")
    done = command("import", file, "--feed", "crm", "-m", command.mapping())
    assert done.returncode == 0, done.stderr
    assert [record["message_id"] for record in records(database)] == ["u-1", "u-3"]
    aside = tmp_path / "users.csv.rejected.ndjson"
    if policy == "block":
        [line] = map(json.loads, aside.read_text().splitlines())
        assert (line["number"], line["code"], line["row"]) == (
            3,
            "tracking_plan",
            {"user": "u-2", "plan": "gold"},
        )
    else:
        assert not aside.exists()
        with opened(database) as connection:
            [item] = put_asides(connection)
        assert json.loads(item.body)["body"]["row"] == {"user": "u-2", "plan": "gold"}


def test_what_a_plan_put_aside_comes_in_whole_once_the_plan_lets_it(
    database: str, nats_url: str, tmp_path: Path
) -> None:
    plan = {"feeds": ["crm"], "on_violation": "quarantine", "traits": {"schema": CRM}}
    declare(database, FEEDS | {"tracking_plans": {"crm": plan}})
    command = Command(database, nats_url, tmp_path)
    file = tmp_path / "users.csv"
    file.write_text("user,plan\nu-2,gold\n")
    assert command("import", file, "--feed", "crm", "-m", command.mapping()).returncode == 0
    with opened(database) as connection:
        [item] = put_asides(connection)
    still = command("quarantine", "replay", item.id)
    assert (still.returncode, records(database)) == (2, [])
    assert "the tracking plan is still against it: plan 'crm'" in still.stderr
    declare(database, FEEDS)
    done = command("quarantine", "replay", item.id)
    assert done.returncode == 0, done.stderr
    [record] = records(database)
    assert (record["message_id"], record["type"], record["body"]["row"]["plan"]) == (
        "u-2",
        "identify",
        "gold",
    )
    assert command("quarantine", "list").stdout == ""


def test_what_an_earlier_build_put_aside_in_part_is_refused_in_words(
    database: str, nats_url: str, tmp_path: Path
) -> None:
    part = Quarantined(str(uuid4()), "crm", "tracking_plan", "plan 'crm'", {}, b'{"row":{"user":"u-2"}}', 1)
    with opened(database) as connection:
        put_aside(connection, part)
        connection.commit()
    refused = Command(database, nats_url, tmp_path)("quarantine", "replay", part.id)
    assert refused.returncode == 2
    assert refused.stderr.endswith("an earlier build has kept a part of it only; send it again\n")


def test_a_schema_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "roundtrip.yaml"
    plan = {"feeds": ["crm"], "traits": {"file": "gone.json"}}
    file.write_text(yaml.safe_dump(FEEDS | {"tracking_plans": {"crm": plan}}))
    with pytest.raises(WorkspaceError, match=r"gone\.json cannot be read"):
        read_workspace(file)
