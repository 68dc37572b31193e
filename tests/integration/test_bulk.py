"""Connections that go out by runs: snapshots, differences and events into files, exactly once, equal when rebuilt."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet
import pytest
from sqlalchemy import Engine, text

from adapters.connectors import files
from adapters.connectors.connector import ConnectorConfig
from adapters.log.append import append
from domain.batches import Batches
from domain.outbound import Outbound
from domain.records import Entry, Identifier, Record, derive_id, entry_of
from domain.workspace import Workspace
from runtime.connection_runs import RunError, ask_for_run, await_run, preview_run
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.relay import _outbound_messages, _read
from runtime.scheduled.connections import begin_due_runs
from tests.integration.importing import Command, running_command
from tests.integration.sending import send
from tests.keys import KEYS, said
from tests.servers import wait_until

HOUR = 3_600_000_000
PEOPLE = 60
FIELDS = {"user": "identifier.user_id", "score": "attribute.score"}
OUT: dict[str, Any] = {
    "connector": "files",
    "fields": FIELDS,
    "settings": {"url": "file:///tmp/out", "columns": {"score": "integer"}},
}


def workspace() -> Workspace:
    by_runs = {"purpose": "ads", "schedule": "0 6 * * *"} | OUT
    return Workspace.model_validate(
        {
            "workspace": "test",
            "clock": "simulated",
            "feeds": {"app": {"format": "files"}},
            "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
            "connections": {
                "nightly": by_runs | {"audience": "pros", "mode": "diff"},
                "listed": by_runs | {"audience": "pros", "mode": "snapshot", "timezone": "Europe/Berlin"},
                "told": by_runs
                | {"audience": "pros", "mode": "diff", "connector": "segment"}
                | {"fields": {"userId": "identifier.user_id"}, "settings": {"base_url": "https://a.example"}}
                | {"secrets": {"write_key": {"env": "KEY"}}},
                "orders": by_runs | {"events": ["Order Completed"], "properties": "all"},
            },
        }
    )


class Shop:
    """A workspace with people in it, whose pipeline does what there is to do."""

    def __init__(self, engine: Engine, definitions: Definitions) -> None:
        self.engine = engine
        self.definitions = definitions
        self._count = 0

    def say(self, *records: tuple[int, dict[str, Any]], hours: int, event: str = "") -> None:
        """Records of people by their number, with traits or an event's properties."""
        entries = []
        for n, values in records:
            self._count += 1
            record = Record(
                feed="app",
                message_id=f"m-{self._count}",
                type="track" if event else "identify",
                name=event,
                occurred_at=hours * HOUR,
                identifiers=(Identifier("user_id", f"u-{n}"),),
                body=msgspec.Raw(msgspec.json.encode({"values": values})),
                traits_at="" if event else "values",
                properties_at="values" if event else "",
                consent={} if event else {"ads": n % 10 != 0},
            )
            entries.append(entry_of(record))
        self.append(entries, hours)

    def append(self, entries: list[Entry], hours: int) -> None:
        with self.engine.begin() as connection:
            append(connection, entries, advance_to=hours * HOUR)
        self.drain()

    def drain(self) -> None:
        drain(Pipeline(self.engine, self.definitions), 2**62)

    def run(self, connection: str) -> dict[str, int]:
        position = ask_for_run(self.engine, connection)
        made = await_run(self.engine, self.definitions, position, 0)
        assert made is not None
        return dict(made)


@pytest.fixture
def shop(database: str, engine: Engine) -> Iterator[Shop]:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, workspace())
        there = Shop(engine, definitions)
        there.say(*((n, {"plan": "pro", "score": n}) for n in range(PEOPLE)), hours=1)
        yield there


def batches(database: str, connection: str) -> list[list[Outbound]]:
    """What was requested of a connection, in order, by its batches."""
    found = [msgspec.convert(one, Outbound) for one in said(database, "outbound.requested")]
    several = groupby((one for one in found if one.connection == connection), key=lambda one: one.batch)
    return [list(batch) for _, batch in several]


def deliver(database: str, shop: Shop, connection: str, place: Path) -> None:
    """Delivers what has no outcome yet by the real runner, with the outcomes in the log."""
    settings = OUT["settings"] | {"url": place.as_uri()}
    done = {one["id"] for one in said(database, "outbound.delivered", "outbound.dead")}
    for batch in batches(database, connection):
        if batch[0].id not in done:
            config = ConnectorConfig(connection, settings, {})
            shop.append(entries_of(send(files.CONNECTOR, config, batch)), 1)


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows = [row for file in run.glob("*.parquet") for row in pyarrow.parquet.read_table(file).to_pylist()]
    assert msgspec.json.decode((run / "_complete.json").read_bytes())["rows"] == len(rows)
    return rows


def runs_in(place: Path) -> list[Path]:
    return sorted(place.iterdir(), key=lambda one: int(one.name))


def held_by(place: Path) -> dict[str, int]:
    """Who a reader of a connection's differences knows: of each run first what goes, and then what comes."""
    held: dict[str, int] = {}
    for run in runs_in(place):
        rows = rows_of(run)
        for row in rows:
            if row["change"] in ("remove", "update"):
                before = msgspec.json.decode(row["before"]) if row["before"] else {}
                held.pop(before.get("user", row["user"]))
        held |= {row["user"]: row["score"] for row in rows if row["change"] != "remove"}
    return held


def expected(**changed: int | None) -> dict[str, int]:
    scores = {f"u-{n}": n for n in range(PEOPLE) if n % 10} | {
        k.replace("_", "-"): v for k, v in changed.items()
    }
    return {user: score for user, score in scores.items() if score is not None}


def different(database: str, shop: Shop, home: Path) -> list[Any]:
    task = Task(database, KEYS, home / "rebuild", jobs=1, range_rows=700)
    found = verify_live(shop.engine, task, shop.definitions, lambda at, goal: None)
    return [one for one in found.tables if not one.equal] + ([found.followed] if found.followed else [])


def test_the_first_run_tells_the_whole_audience_and_the_next_what_is_different(
    database: str, shop: Shop, tmp_path: Path
) -> None:
    assert said(database, "outbound.requested") == []
    would = preview_run(shop.engine, "nightly")
    assert (would.changes, would.withheld) == ({"add": 54}, {"no consent to 'ads'": 6})
    assert shop.run("nightly") == {"add": 54}
    shop.drain()
    with pytest.raises(RunError, match="under way: 55 of its records have no outcome"):
        ask_for_run(shop.engine, "nightly")
    deliver(database, shop, "nightly", tmp_path)
    assert held_by(tmp_path / "nightly") == expected()
    # What is overtaken before the next run is not told at all.
    shop.say(
        (1, {"score": 7}),
        (2, {"plan": "free"}),
        (3, {"plan": "free"}),
        (9_999, {"plan": "pro", "score": 5}),
        hours=2,
    )
    shop.say((1, {"score": 8}), (3, {"plan": "pro"}), hours=3)
    assert preview_run(shop.engine, "nightly").changes == {"add": 1, "remove": 1, "update": 1}
    assert shop.run("nightly") == {"add": 1, "remove": 1, "update": 1}
    deliver(database, shop, "nightly", tmp_path)
    assert held_by(tmp_path / "nightly") == expected(u_1=8, u_2=None, u_9999=5)
    [update] = [row for row in rows_of(runs_in(tmp_path / "nightly")[1]) if row["change"] == "update"]
    assert (update["user"], update["score"], update["before"]) == ("u-1", 8, '{"score":1}')
    assert shop.run("nightly") == {}
    assert different(database, shop, tmp_path) == []


def test_a_snapshot_is_the_whole_audience_each_time_also_where_nobody_is_left(
    database: str, shop: Shop, tmp_path: Path
) -> None:
    for _ in range(2):
        assert shop.run("listed") == {"add": 54}
        deliver(database, shop, "listed", tmp_path)
    shop.say(*((n, {"plan": "free"}) for n in range(PEOPLE)), hours=2)
    assert shop.run("listed") == {}
    deliver(database, shop, "listed", tmp_path)
    listed = [{row["user"]: row["score"] for row in rows_of(run)} for run in runs_in(tmp_path / "listed")]
    assert listed == [expected(), expected(), {}]


def test_events_wait_for_the_run_and_are_sent_once(database: str, shop: Shop, tmp_path: Path) -> None:
    shop.say(*((n, {"total": n}) for n in range(30)), hours=2, event="Order Completed")
    shop.say((1, {"score": 100}), hours=3)
    # While the pipeline has not come to it, an event that is before the run is the run's, and one behind it is not.
    with shop.engine.begin() as connection:
        late = Record(
            feed="app",
            message_id="late",
            type="track",
            name="Order Completed",
            occurred_at=HOUR,
            identifiers=(Identifier("user_id", "u-1"),),
            body=msgspec.Raw(b'{"values": {"total": 1000}}'),
            properties_at="values",
        )
        append(connection, [entry_of(late)], advance_to=4 * HOUR)
    position = ask_for_run(shop.engine, "orders")
    shop.say((2, {"total": 2_000}), hours=5, event="Order Completed")
    assert await_run(shop.engine, shop.definitions, position, 0) == {"event": 28}
    deliver(database, shop, "orders", tmp_path)
    assert shop.run("orders") == {"event": 1}
    deliver(database, shop, "orders", tmp_path)
    first, second = (rows_of(run) for run in runs_in(tmp_path / "orders"))
    totals = [msgspec.json.decode(row["properties"])["total"] for row in first]
    assert sorted(totals) == [*(n for n in range(30) if n % 10), 1_000]
    assert {row["score"] for row in first if row["user"] == "u-1"} == {1, 100}, (
        "each with what held as it came"
    )
    assert [msgspec.json.decode(row["properties"])["total"] for row in second] == [2_000]
    assert different(database, shop, tmp_path) == []


@pytest.mark.parametrize(("connection", "commit"), [("told", 3), ("listed", 3), ("orders", 2)])
def test_killed_in_the_middle_a_run_goes_on_and_tells_nothing_twice(
    database: str, shop: Shop, tmp_path: Path, nats_url: str, connection: str, commit: int
) -> None:
    shop.say(*((n, {"total": n}) for n in range(1, 10)), hours=2, event="Order Completed")
    if connection == "told":
        # More than one page of people.
        shop.say(*((n, {"plan": "pro"}) for n in range(PEOPLE, 1_100)), hours=2)
    command = Command(database, nats_url, tmp_path)
    killed = command("connection", "run", connection, ROUNDTRIP_FAILPOINT=f"pipeline.before_commit:{commit}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shop.drain()
    told = Counter(
        one["fields"].get("userId", one["fields"].get("user")) for one in said(database, "outbound.requested")
    )
    assert set(told.values()) == {1}
    assert len(told) == {"told": 990, "listed": 55, "orders": 10}[connection], "and that it is complete"
    assert different(database, shop, tmp_path) == []


def test_the_command_says_what_a_run_would_send_and_what_it_sends(
    database: str, shop: Shop, tmp_path: Path, nats_url: str
) -> None:
    command = Command(database, nats_url, tmp_path)
    would = command("connection", "run", "nightly", "--dry-run")
    assert "would send add 54" in would.stdout, would.stderr
    assert "withheld: 6, no consent to 'ads'" in would.stdout
    assert said(database, "connection.run") == []
    done = command("connection", "run", "nightly")
    assert done.returncode == 0, done.stderr
    assert "sends add 54." in done.stdout
    unknown = command("connection", "run", "daily")
    assert unknown.returncode == 2
    assert "no connection 'daily'; declared are: listed, nightly, orders, told" in unknown.stderr


def test_a_run_begins_when_it_is_due_once_and_after_the_one_before(
    database: str, shop: Shop, tmp_path: Path
) -> None:
    # The log's clock is simulated, so that schedules go by it: it is one o'clock, on the first day of 1970.
    assert begin_due_runs(shop.engine, 0) == []
    tick = [Entry(derive_id("a tick"), 1, "clock.tick", None, b'{"due":1}')]
    shop.append(tick, 5)
    assert begin_due_runs(shop.engine, 0) == ["listed"], "six o'clock in Berlin"
    shop.append([tick[0]._replace(stream_id=derive_id("b"))], 6)
    assert begin_due_runs(shop.engine, 0) == ["nightly", "orders", "told"]
    assert begin_due_runs(shop.engine, 0) == []
    shop.drain()
    # Two days later the run of the first is still on its way: one makes up for both.
    shop.append([tick[0]._replace(stream_id=derive_id("c"))], 55)
    assert begin_due_runs(shop.engine, 0) == []
    deliver(database, shop, "nightly", tmp_path)
    assert begin_due_runs(shop.engine, 0) == ["nightly"]
    shop.drain()
    dues = [one["due"] // HOUR for one in said(database, "connection.run") if one["connection"] == "nightly"]
    assert dues == [6, 54]
    with shop.engine.connect() as connection:
        left = connection.execute(
            text("SELECT count(*) FROM checkpoint WHERE name LIKE 'running%'")
        ).scalar_one()
    assert left == 0


def test_who_withdraws_consent_before_an_update_is_sent_is_taken_back_by_what_was_told(
    tmp_path: Path,
) -> None:
    update = Outbound(
        id=derive_id("update"),
        connection="out",
        batch="b-1",
        profile="somebody",
        audience="pros",
        change="update",
        fields={"user": "u-1", "score": 8, "city": "Berlin"},
        cause=7,
        purpose="ads",
        run=7,
        before={"score": 1, "city": None},
    )

    async def nobody(purpose: str, profiles: Sequence[str]) -> set[str]:
        return set()

    settings = OUT["settings"] | {"url": tmp_path.as_uri()}
    [outcome] = send(files.CONNECTOR, ConnectorConfig("out", settings, {}), [update], nobody)
    assert outcome.status == "delivered"
    [row] = pyarrow.parquet.read_table(tmp_path / "out" / "7" / "b-1.parquet").to_pylist()
    assert (row["change"], row["user"], row["score"]) == ("remove", "u-1", 1)
    assert "city" not in row


def test_the_scheduler_begins_runs_and_the_next_one_waits_for_outcomes(
    database: str, engine: Engine, nats_url: str, tmp_path: Path
) -> None:
    nightly = OUT | {"fields": {"user": "identifier.user_id"}, "audience": "pros", "mode": "diff"}
    declared = workspace().model_dump(exclude_unset=True, by_alias=True) | {
        "clock": "wall",
        "connections": {"nightly": nightly | {"schedule": "* * * * * *"}},
    }
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(declared))
        shop = Shop(engine, definitions)
        shop.say((1, {"plan": "pro"}), hours=1)

        def runs(least: int) -> bool:
            shop.drain()
            return len(said(database, "connection.run")) >= least

        with running_command(Command(database, nats_url, tmp_path), "schedule"):
            wait_until(lambda: runs(1) and said(database, "outbound.requested"), "the first run")
            [first] = said(database, "connection.run")
            deliver(database, shop, "nightly", tmp_path)
            wait_until(lambda: runs(2), "the next one, once all has an outcome")
        assert said(database, "outbound.requested")[0]["fields"] == {"user": "u-1"}
        assert said(database, "connection.run")[1]["due"] > first["due"]


def test_a_runs_largest_batch_is_one_message(engine: Engine) -> None:
    batches = Batches(files.MAX_BATCH)
    one = Outbound(
        id="",
        connection="nightly",
        batch="",
        profile="",
        audience="pros",
        change="add",
        fields={"user": "u"},
        cause=1,
    )
    rows = [
        batches.add(msgspec.structs.replace(one, id=derive_id("r", str(n)), profile=derive_id("p", str(n))))
        for n in range(files.MAX_BATCH + 3)
    ]
    with engine.begin() as connection:
        append(connection, rows)
    read, position = [], 0
    with engine.connect() as connection:
        while page := _read(connection, position):
            read.append(page)
            position = page[-1].position
        messages = [message for page in read for message in _outbound_messages(connection, page)]
    assert [len(msgspec.json.decode(message.payload)) for message in messages] == [files.MAX_BATCH, 3]
    assert len(messages[0].payload) < 8_000_000
