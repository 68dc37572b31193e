"""`roundtrip plan FILE`: what a changed workspace would do is what it then does."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from adapters.log.append import append
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.cli import app_for
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from tests.keys import MASTER_KEY, said

HOUR = 3_600_000_000
PEOPLE = 40
ADS: dict[str, Any] = {
    "connector": "meta_custom_audience",
    "audience": "big",
    "fields": {"id": "identifier.user_id"},
    "settings": {"base_url": "https://ads.example.com", "audience_id": "23"},
    "secrets": {"access_token": {"env": "ADS_TOKEN"}},
}
PUSH: dict[str, Any] = {
    "connector": "onesignal",
    "audience": "buyers",
    "fields": {"external_id": "identifier.user_id"},
    "settings": {"app_id": "8250eaf6-1a58-489e-b136-7c74a864b434", "contents": {"en": "Hello"}},
    "secrets": {"api_key": {"env": "ADS_TOKEN"}},
}
BEFORE: dict[str, Any] = {
    "workspace": "shop",
    "clock": "simulated",
    "feeds": {
        "app": {"format": "files"},
        "pushes": {"format": "onesignal", "secret": {"env": "ADS_TOKEN"}},
    },
    "audiences": {
        "buyers": {"match": {"event": "Order Completed"}},
        "gone": {"match": {"event": "Order Completed"}},
    },
}
AFTER: dict[str, Any] = BEFORE | {
    "traits": {"spent": {"event": "Order Completed", "compute": "sum", "of": "total"}},
    "audiences": {
        "buyers": {"match": {"any": [{"event": "Order Completed", "at_least": 3}, {"event": "Push Opened"}]}},
        "big": {"match": {"trait": "spent", "at_least": 30}},
    },
    "connections": {"ads": ADS, "push": PUSH},
    "loops": {"again": {"hops": [{"audience": "buyers", "connection": "push", "feed": "pushes"}]}},
}


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    """Person n has bought n % 5 times, for 10 each."""
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(BEFORE))
        with engine.begin() as connection:
            bought = [(n, time) for n in range(PEOPLE) for time in range(n % 5)]
            append(connection, [_order(n, time) for n, time in bought], advance_to=2 * HOUR)
        drain(Pipeline(engine, definitions), 2**62)
        yield definitions


def _order(person: int, time: int) -> Any:
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{person}-{time}",
            type="track",
            name="Order Completed",
            occurred_at=HOUR + time,
            identifiers=(Identifier("user_id", f"u-{person}"),),
            body=msgspec.Raw(b'{"properties": {"total": 10}}'),
            properties_at="properties",
        )
    )


def plan(database: str, home: Path, document: dict[str, Any], *words: str) -> Result:
    file = home / "roundtrip.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    environment = {
        "ROUNDTRIP_HOME": str(home),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
        "ADS_TOKEN": "secret",
    }
    return CliRunner().invoke(app_for(["plan"]), ["plan", str(file), *words], env=os.environ | environment)


def test_what_is_planned_is_what_happens(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    shown = plan(database, tmp_path, AFTER, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    changes = {(one["kind"], one["name"], one["becomes"]) for one in found["changes"]}
    assert changes == {
        ("audience", "buyers", "changed"),
        ("audience", "big", "new"),
        ("audience", "gone", "withdrawn"),
        ("trait", "spent", "new"),
        ("connection", "ads", "new"),
        ("connection", "push", "new"),
        ("loop", "again", "new"),
    }
    moves = {one["audience"]: (one["enter"], one["leave"], one["size"]) for one in found["audiences"]}
    assert moves == {"buyers": (0, 16, 16), "big": (16, 0, 16), "gone": (0, 32, 0)}
    assert {one["connection"]: one["adds"] for one in found["messages"]} == {"ads": 16, "push": 16}
    assert found["circles"] == [{"connection": "push", "audiences": ["buyers"]}]
    with engine.connect() as connection:
        before = connection.execute(text("SELECT position FROM log_head")).scalar_one()
    assert before == found["position"]
    apply_workspace(engine, definitions, Workspace.model_validate(AFTER))
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        audiences = connection.execute(text("SELECT audience FROM membership")).scalars().all()
    assert Counter(audiences) == {"buyers": 16, "big": 16}
    sent = [one["connection"] for one in said(database, "outbound.requested")]
    assert (sent.count("ads"), sent.count("push")) == (16, 16)


def test_a_first_file_is_planned_before_anything_is_declared(
    database: str, engine: Engine, tmp_path: Path
) -> None:
    shown = plan(database, tmp_path, AFTER, "--json")
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert {one["becomes"] for one in found["changes"]} == {"new"}
    assert [one["size"] for one in found["audiences"]] == [0, 0]
    assert (found["messages"], found["position"]) == ([], 0)


def test_what_is_told_of_everybody_anew_is_counted_in_full(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    apply_workspace(engine, definitions, Workspace.model_validate(AFTER))
    drain(Pipeline(engine, definitions), 2**62)
    assert "Nothing would change." in plan(database, tmp_path, AFTER).stdout
    lately = {"event": "Order Completed", "compute": "sum", "of": "total", "within": "30d"}
    told = ADS | {"fields": {"id": "identifier.user_id", "spent": "trait.lately"}}
    first = AFTER | {
        "traits": AFTER["traits"] | {"lately": lately},
        "connections": {"ads": told},
        "loops": {},
    }
    messages = json.loads(plan(database, tmp_path, first, "--json").stdout)["messages"]
    assert messages == [{"connection": "ads", "adds": 16, "removes": 16}]
    apply_workspace(engine, definitions, Workspace.model_validate(first))
    drain(Pipeline(engine, definitions), 2**62)
    second = first | {"traits": first["traits"] | {"lately": lately | {"within": "60d"}}}
    messages = json.loads(plan(database, tmp_path, second, "--json").stdout)["messages"]
    assert messages == [{"connection": "ads", "adds": 16, "removes": 16}]
    held_out = second["audiences"] | {"big": second["audiences"]["big"] | {"holdout": 50}}
    found = json.loads(plan(database, tmp_path, second | {"audiences": held_out}, "--json").stdout)
    assert found["messages"] == [{"connection": "ads", "adds": 16, "removes": 16}]


def test_a_changed_default_of_a_purpose_may_be_told_of_everybody(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    ads = {"connections": {"ads": ADS | {"audience": "buyers", "purpose": "ads"}, "push": PUSH}}
    declared = BEFORE | ads
    apply_workspace(engine, definitions, Workspace.model_validate(declared))
    drain(Pipeline(engine, definitions), 2**62)
    buyers = len([n for n in range(PEOPLE) if n % 5])
    changed = declared | {"purposes": {"ads": {"default": "given"}}}
    found = json.loads(plan(database, tmp_path, changed, "--json").stdout)
    assert found["messages"] == [{"connection": "ads", "adds": buyers, "removes": buyers}]
    assert found["changes"] == [{"kind": "workspace", "name": "shop", "becomes": "changed"}]
    # Other rules of identity tell nobody of anything.
    blocked = declared | {"identity": {"blocked": ["kiosk"]}}
    assert json.loads(plan(database, tmp_path, blocked, "--json").stdout)["messages"] == []


def test_it_says_so_in_words(database: str, definitions: Definitions, tmp_path: Path) -> None:
    shown = plan(database, tmp_path, AFTER)
    assert "changed: audience 'buyers'" in shown.stdout
    assert "connection 'ads' is told of at most 16 people" in shown.stdout
    assert "could feed itself by what connection 'push' brings back: buyers → buyers" in shown.stdout
    assert "Nothing would change." in plan(database, tmp_path, BEFORE).stdout
