"""A changed workspace takes effect over what was there before it: audiences, their history, and who is told of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from adapters.history.tables import History
from adapters.log.append import append
from domain.audiences.definition import Audience
from domain.records import Entry, Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.ahead import Ahead, Place
from runtime.audiences.bulk import history_now
from runtime.audiences.preview import preview_audiences
from runtime.backfill import LakeBackfill
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.history import HistoryWriter
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.status import read_status, who_consents
from tests.keys import KEYS, MASTER_KEY, said

HOUR = 3_600_000_000
PEOPLE = 120
ADS = {
    "connector": "meta_custom_audience",
    "audience": "keen",
    "fields": {"email": "identifier.email", "value": "trait.orders"},
    "settings": {"base_url": "https://ads.example.com", "audience_id": "23"},
    "secrets": {"access_token": {"env": "ADS_TOKEN"}},
}
#: First some audiences; then one is edited, one withdrawn, others are new, and somebody is told of one.
BEFORE = {
    "buyers": {"match": {"event": "Order Completed"}},
    "pros": {"match": {"attribute": "plan", "is": "pro"}},
}
AFTER = {
    "buyers": {"match": {"event": "Order Completed", "at_least": 3}},
    "keen": {"match": {"all": [{"event": "Page Viewed", "at_least": 2}, {"in_audience": "buyers"}]}},
    "lapsed": {
        "match": {"all": [{"in_audience": "buyers"}, {"not": {"event": "Order Completed", "within": "10h"}}]}
    },
    "free": {"match": {"attribute": "plan", "is": "free"}},
    "collectors": {"match": {"trait": "orders", "at_least": 4}},
}
#: How often somebody bought, which is computed from what was there before it was declared.
TRAITS = {"orders": {"event": "Order Completed", "compute": "count"}}


def workspace(audiences: dict[str, Any], connections: dict[str, Any], **more: Any) -> Workspace:
    return Workspace.model_validate(
        {
            "workspace": "test",
            "clock": "simulated",
            "feeds": {"app": {"format": "files"}},
            "traits": TRAITS if audiences is AFTER else {},
            "audiences": audiences,
            "connections": connections,
            **more,
        }
    )


def records() -> Iterator[Record]:
    """Person n buys n % 5 times and looks at n % 3 pages, on a device that is known as theirs only at the end."""
    for n in range(PEOPLE):
        device, user = Identifier("anonymous_id", f"d-{n}"), Identifier("user_id", f"u-{n}")
        kinds = ["track"] * (n % 5) + ["page"] * (n % 3) + ["identify"]
        for number, kind in enumerate(kinds):
            whole = {"traits": {"plan": "pro" if n % 2 else "free"}} if kind == "identify" else {}
            known = (
                (user, device, Identifier("email", f"{n}@example.com")) if kind == "identify" else (device,)
            )
            yield Record(
                feed="app",
                message_id=f"m-{n}-{number}",
                type=kind,  # type: ignore[arg-type]
                name="Order Completed" if kind == "track" else "",
                occurred_at=HOUR + number,
                identifiers=known,
                body=msgspec.Raw(msgspec.json.encode(whole)),
                traits_at="traits" if kind == "identify" else "",
            )


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    """Everybody's records are in, under the first workspace."""
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, workspace(BEFORE, {}))
        append_all(engine, [entry_of(record) for record in records()], 2)
        drain(Pipeline(engine, definitions), 2**62)
        yield definitions


def append_all(engine: Engine, entries: list[Entry], hours: int) -> None:
    with engine.begin() as connection:
        append(connection, entries, advance_to=hours * HOUR)


def sizes(engine: Engine) -> Counter[str]:
    with engine.connect() as connection:
        return Counter(connection.execute(text("SELECT audience FROM membership")).scalars())


def different(database: str, engine: Engine, definitions: Definitions, home: Path) -> list[Any]:
    task = Task(database, KEYS, home / "rebuild", jobs=1, range_rows=150)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    return [one for one in found.tables if not one.equal] + ([found.followed] if found.followed else [])


def expected() -> dict[str, int]:
    buys = [n for n in range(PEOPLE) if n % 5 >= 3]
    keen = [n for n in buys if n % 3 >= 2]
    return {
        "buyers": len(buys),
        "keen": len(keen),
        "free": len([n for n in range(PEOPLE) if n % 2 == 0]),
        "collectors": len([n for n in buys if n % 5 == 4]),
    }


class Lake(LakeBackfill):
    """Counts the people who are read from it. The folder `lost` goes once it was asked how far it is."""

    def __init__(self, history: History, lost: Path | None) -> None:
        super().__init__(history)
        self.people = 0
        self._lost = lost

    def reach(self) -> int:
        reach = super().reach()
        if self._lost is not None:
            shutil.rmtree(self._lost)
        return reach

    def fold(self, connection: Any, leaves: Any, upto: int, profiles: Any) -> bool:
        read = super().fold(connection, leaves, upto, profiles)
        self.people += len(profiles) if read else 0
        return read


@pytest.mark.parametrize("lost", [False, True], ids=["read", "lost in between"])
def test_what_happened_is_read_from_the_lake_as_far_as_it_has_it(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path, lost: bool
) -> None:
    """The lake has what was there at first, and the log alone what came since: somebody's third order."""
    history = History(str(tmp_path / "lake"))
    while (writer := HistoryWriter(engine, definitions, history)).turn():
        pass
    assert writer.position
    second = next(one for one in records() if one.message_id == "m-2-0")
    append_all(engine, [entry_of(msgspec.structs.replace(second, message_id="third"))], 3)
    lake = Lake(history, tmp_path / "lake" if lost else None)
    own = {name: one for name, one in AFTER.items() if name != "collectors"}
    apply_workspace(engine, definitions, workspace(own, {}))
    drain(Pipeline(engine, definitions, backfill=lake), 2**62)
    assert lake.people == (0 if lost else PEOPLE)
    wanted = expected() | {"buyers": expected()["buyers"] + 1, "keen": expected()["keen"] + 1}
    assert sizes(engine) == {name: size for name, size in wanted.items() if name in own}
    assert different(database, engine, definitions, tmp_path) == []


@pytest.mark.parametrize("there", [True, False], ids=["by another process", "which cannot begin"])
def test_the_next_people_are_looked_at_while_the_former_are_written(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path, there: bool
) -> None:
    history = History(str(tmp_path / "lake"))
    while (writer := HistoryWriter(engine, definitions, history)).turn():
        pass
    assert writer.position
    own = {name: one for name, one in AFTER.items() if name != "collectors"}
    apply_workspace(engine, definitions, workspace(own, {}))
    ahead = Ahead(Place(database if there else f"{database}_not", KEYS, history), worth_it=0)
    lake = Lake(history, None)
    drain(Pipeline(engine, definitions, backfill=lake, ahead=ahead), 2**62)
    assert lake.people == (0 if there else PEOPLE)
    assert sizes(engine) == {name: size for name, size in expected().items() if name in own}
    assert different(database, engine, definitions, tmp_path) == []


def test_it_is_as_if_the_audiences_had_been_declared_from_the_start(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    assert sizes(engine) == {
        "buyers": len([n for n in range(PEOPLE) if n % 5]),
        "pros": len([n for n in range(PEOPLE) if n % 2]),
    }
    apply_workspace(engine, definitions, workspace(AFTER, {"ads": ADS}))
    # What comes in while it takes effect is taken in behind it.
    late = [entry_of(one) for one in records() if one.message_id.startswith("m-4-")]
    more = [
        entry._replace(stream_id=f"{entry.stream_id[:-1]}{'0' if entry.stream_id[-1] != '0' else '1'}")
        for entry in late
    ]
    append_all(engine, more[:1], 3)
    drain(Pipeline(engine, definitions), 2**62)
    assert sizes(engine) == expected()
    standing = read_status(engine)["workspace"]
    assert (standing["taking_effect"], standing["history_folded_to"]) == (None, None)
    assert standing["in_force_since"] > 0
    left = [one for one in said(database, "audience.exited") if one["audience"] == "pros"]
    assert len(left) == len([n for n in range(PEOPLE) if n % 2])
    # The whole audience is told of, each member once.
    sent = said(database, "outbound.requested")
    assert len({one["fields"]["email"] for one in sent}) == len(sent) == expected()["keen"]
    assert all(one["fields"]["value"] == int(one["fields"]["email"].split("@")[0]) % 5 for one in sent)
    # Time goes on for those that were looked at as for any other.
    append_all(
        engine, [Entry("00000000-0000-5000-8000-000000000001", 1, "clock.tick", None, b'{"due":1}')], 20
    )
    drain(Pipeline(engine, definitions), 2**62)
    assert sizes(engine) == expected() | {"lapsed": expected()["buyers"]}
    assert different(database, engine, definitions, tmp_path) == []
    # A file that says the same again changes nothing, and asks nobody to look at anything.
    with engine.connect() as connection:
        before = connection.execute(text("SELECT position FROM log_head")).scalar_one()
    assert apply_workspace(engine, definitions, workspace(AFTER, {"ads": ADS})) == 0
    with engine.connect() as connection:
        assert connection.execute(text("SELECT position FROM log_head")).scalar_one() == before


def test_a_changed_default_of_a_purpose_holds_for_who_was_there_before(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    ads = ADS | {"audience": "pros", "purpose": "ads", "fields": {"email": "identifier.email"}}
    willing = {"willing": Audience.model_validate({"match": {"consent": "ads"}})}
    pros = len([n for n in range(PEOPLE) if n % 2])
    changes: Counter[str] = Counter()
    for purposes, change in (
        ({}, {}),
        ({"ads": {"default": "given"}}, {"add": pros}),
        ({}, {"remove": pros}),
    ):
        declared = workspace(BEFORE, {"ads": ads}, **({"purposes": purposes} if purposes else {}))
        apply_workspace(engine, definitions, declared)
        drain(Pipeline(engine, definitions), 2**62)
        changes.update(change)
        sent = said(database, "outbound.requested")
        assert Counter(one["change"] for one in sent) == changes
        everybody = {one["profile"] for one in said(database, "outbound.requested")}
        assert who_consents(engine, "ads", everybody) == (everybody if purposes else set())
        with history_now(
            engine, definitions, History(str(tmp_path / "lake")), lambda what, done: None
        ) as bulk:
            [found] = preview_audiences(bulk, willing, 0, lambda what, done: None)
        assert found.size == (PEOPLE if purposes else 0)
    assert different(database, engine, definitions, tmp_path) == []


@pytest.mark.parametrize("commit", [1, 2, 4])
def test_killed_in_the_middle_it_goes_on_and_nobody_is_told_twice(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path, commit: int
) -> None:
    apply_workspace(engine, definitions, workspace(AFTER, {"ads": ADS}))
    environment = os.environ | {
        "ROUNDTRIP_HOME": str(tmp_path),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
        "ROUNDTRIP_FAILPOINT": f"pipeline.before_commit:{commit}",
    }
    killed = subprocess.run([sys.executable, "-m", "runtime.cli", "pipeline"], env=environment, check=False)
    assert killed.returncode == -9
    drain(Pipeline(engine, definitions), 2**62)
    assert sizes(engine) == expected()
    sent = said(database, "outbound.requested")
    assert len({one["fields"]["email"] for one in sent}) == len(sent) == expected()["keen"]
    assert different(database, engine, definitions, tmp_path) == []
