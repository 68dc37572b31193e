"""A connection tells again what it was to tell, and a new one is warmed up with history: once, and as in a rebuild."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from adapters.log.append import append
from domain.outbound import Outbound
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.bulk_replay import OVERTAKEN
from runtime.connection_replays import ask_for_replay, preview_replay
from runtime.connection_runs import RunError, await_run
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from tests.integration.importing import Command
from tests.keys import KEYS, said

SEGMENT = {
    "connector": "segment",
    "settings": {"base_url": "https://cdp.example.com"},
    "secrets": {"write_key": {"env": "KEY"}},
    "purpose": "ads",
    "fields": {"user_id": "identifier.user_id", "plan": "attribute.plan"},
}
FORWARD = SEGMENT | {
    "events": ["Bought", {"event": "Seen", "where": {"n": {"at_least": 2}}}],
    "properties": "all",
}


def workspace(**connections: Any) -> Workspace:
    return Workspace.model_validate(
        {
            "workspace": "test",
            "feeds": {"app": {"format": "files"}},
            "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
            "channels": {"phone": {"cap": [{"at_most": 1, "within": "1d"}]}},
            "connections": {"told": SEGMENT | {"audience": "pros"}} | connections,
        }
    )


class Shop:
    """A workspace whose pipeline does what there is to do."""

    def __init__(self, database: str, engine: Engine, definitions: Definitions) -> None:
        self.database = database
        self.engine = engine
        self.definitions = definitions
        self._said = 0

    def say(self, who: int, event: str = "", consents: bool = True, **values: Any) -> None:
        self._said += 1
        record = Record(
            feed="app",
            message_id=f"m-{self._said}",
            type="track" if event else "identify",
            name=event,
            occurred_at=self._said,
            identifiers=(Identifier("user_id", f"u-{who}"),),
            body=msgspec.Raw(b"{}"),
            traits={} if event else values,
            properties=values if event else {},
            consent={} if event else {"ads": consents},
        )
        with self.engine.begin() as connection:
            append(connection, [entry_of(record)])

    def drain(self) -> None:
        drain(Pipeline(self.engine, self.definitions), 2**62)

    def declare(self, **connections: Any) -> None:
        apply_workspace(self.engine, self.definitions, workspace(**connections))
        self.drain()

    def replay(self, name: str, place: str) -> dict[str, int]:
        position = ask_for_replay(self.engine, name, place)
        made = await_run(self.engine, self.definitions, position, 0)
        assert made is not None
        self.drain()
        return dict(made)

    def sent(self, name: str) -> list[Outbound]:
        found = [msgspec.convert(one, Outbound) for one in said(self.database, "outbound.requested")]
        return [one for one in found if one.connection == name]

    def different(self, home: Path) -> list[Any]:
        task = Task(self.database, KEYS, home / "rebuild", jobs=1, range_rows=700)
        found = verify_live(self.engine, task, self.definitions, lambda at, goal: None)
        return [one for one in found.tables if not one.equal]


@pytest.fixture
def shop(database: str, engine: Engine) -> Iterator[Shop]:
    with open_definitions(database) as definitions:
        there = Shop(database, engine, definitions)
        there.declare()
        yield there


def test_a_new_destination_is_warmed_up_with_events_that_came_before_it(shop: Shop, tmp_path: Path) -> None:
    for n in range(1, 5):
        shop.say(n, plan="free", consents=n != 2)
        shop.say(n, "Bought", n=n)
        shop.say(n, "Seen", n=n)
    shop.say(4, plan="pro")
    shop.drain()
    shop.declare(warm=FORWARD)
    assert shop.sent("warm") == []
    would = preview_replay(shop.engine, "warm", "1")
    assert would.changes == {"event": 5}
    assert would.passed_over == {"no consent to 'ads'": 2}
    assert shop.replay("warm", "1") == {"event": 5}
    told = shop.sent("warm")
    assert [(one.event, one.fields["user_id"], one.properties["n"]) for one in told] == [
        ("Bought", "u-1", 1),
        ("Bought", "u-3", 3),
        ("Seen", "u-3", 3),
        ("Bought", "u-4", 4),
        ("Seen", "u-4", 4),
    ]
    assert told[-1].fields["plan"] == "pro", "with what is known now"
    assert shop.different(tmp_path) == []
    # Each replay tells again, from where it is asked to.
    assert shop.replay("warm", str(told[-1].cause)) == {"event": 1}
    assert len({one.id for one in shop.sent("warm")}) == 6
    assert shop.different(tmp_path) == []


def test_an_audience_is_told_again_as_it_stands_now(shop: Shop, tmp_path: Path) -> None:
    for n in range(1, 7):
        shop.say(n, plan="pro", consents=n != 6)
    shop.drain()
    since = shop.sent("told")[-1].cause
    shop.say(1, plan="free")
    shop.say(2, plan="free")
    shop.drain()
    shop.say(2, plan="pro")
    shop.drain()
    would = preview_replay(shop.engine, "told", "1")
    assert (would.changes, would.passed_over) == ({"add": 4, "remove": 1}, {OVERTAKEN: 3})
    before = len(shop.sent("told"))
    assert shop.replay("told", "1") == {"add": 4, "remove": 1}
    again = shop.sent("told")[before:]
    assert Counter(one.change for one in again) == {"add": 4, "remove": 1}
    assert [one.fields["user_id"] for one in again if one.change == "remove"] == ["u-1"]
    assert sum(preview_replay(shop.engine, "told", str(since + 1)).changes.values()) < 15
    assert shop.different(tmp_path) == []


@pytest.mark.parametrize("commit", [2, 3])
def test_killed_in_the_middle_a_replay_goes_on_and_tells_nothing_twice(
    shop: Shop, tmp_path: Path, nats_url: str, commit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.say(1, plan="free")
    for n in range(20):
        shop.say(1, "Bought", n=n)
    shop.drain()
    shop.declare(warm=FORWARD)
    command = Command(shop.database, nats_url, tmp_path)
    killed = command(
        "connection", "replay", "warm", "--from", "1", ROUNDTRIP_FAILPOINT=f"pipeline.before_commit:{commit}"
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with pytest.raises(RunError, match="under way"):
        ask_for_replay(shop.engine, "warm", "1")
    monkeypatch.setattr("runtime.bulk_replay._PAGE", 7)
    shop.drain()
    assert [one.properties["n"] for one in shop.sent("warm")] == list(range(20))
    assert shop.different(tmp_path) == []


def test_the_command_counts_first_and_refuses_what_cannot_be_replayed(
    shop: Shop, tmp_path: Path, nats_url: str
) -> None:
    shop.say(1, plan="free")
    shop.say(1, "Bought", n=1)
    shop.drain()
    listed = SEGMENT | {"audience": "pros", "mode": "diff", "schedule": "0 6 * * *"}
    shop.declare(warm=FORWARD, push=FORWARD | {"channel": "phone"}, listed=listed)
    command = Command(shop.database, nats_url, tmp_path)
    counted = command("connection", "replay", "warm", "--from", "2020-01-01T00:00:00Z", "--dry-run")
    assert "would send event 1." in counted.stdout, counted.stderr
    assert said(shop.database, "connection.replay") == []
    for name, place, complaint in (
        ("none", "1", "no connection 'none'; declared are: listed, push, told, warm"),
        ("warm", "yesterday", "is neither a position nor a time"),
        ("warm", "900000", "there is nothing to replay"),
        ("push", "1", "counts for channel 'phone'"),
        ("listed", "1", "its first run tells of all"),
    ):
        refused = command("connection", "replay", name, "--from", place)
        assert (refused.returncode, complaint in refused.stderr) == (2, True), refused.stderr
