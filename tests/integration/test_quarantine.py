"""A record that the pipeline cannot apply stops nobody: it is left out, named, and can be handed in again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from adapters.log.append import append
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.quarantine import put_asides
from domain.records import Entry, Identifier, Record, RecordType, entry_of
from domain.workspace import Workspace
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import CHECKPOINT, Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from tests.keys import KEYS, MASTER_KEY

HOUR = 3_600_000_000
WORKSPACE = {
    "workspace": "test",
    "clock": "simulated",
    "feeds": {"app": {"format": "files"}},
    "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
}


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
        yield definitions


def said(number: int, traits: bytes = b'{"plan":"pro"}') -> Entry:
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{number}",
            type="identify",
            occurred_at=HOUR,
            identifiers=(Identifier("user_id", f"user-{number}"),),
            body=msgspec.Raw(b'{"traits":%b}' % traits),
            traits_at="traits",
        )
    )


def test_a_store_that_does_not_answer_is_no_record_that_cannot_be_applied(
    engine: Engine, definitions: Definitions
) -> None:
    asked = []

    def locked(connection: Connection, entries: Sequence[Entry]) -> None:
        asked.append(entries)
        raise psycopg.errors.LockNotAvailable

    drain(Pipeline(engine, definitions), 2**62)
    with engine.begin() as connection:
        append(connection, [said(1)], advance_to=HOUR)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        drain(Pipeline(engine, definitions, follow=locked), 2**62)
    assert len(asked) == 1


#: What came into the log by an older release, or by somebody's own hand: each fails in another part of the pipeline.
FAULTY = {
    "a state that is no record": said(300)._replace(state=b'{"feed":'),
    "a body nested too deeply to be read": said(301, b"[" * 100_000 + b"]" * 100_000),
    "a number that no profile can hold": said(302, b'{"plan":%d}' % 2**70),
    "half of a surrogate pair": said(303, rb'{"plan":"\ud800"}'),
}


def named(number: int, kind: RecordType, *identifiers: tuple[str, str], at: int = HOUR) -> Entry:
    return entry_of(
        Record(
            feed="app",
            message_id=f"n-{number}",
            type=kind,
            occurred_at=at,
            identifiers=tuple(Identifier(*one) for one in identifiers),
            body=msgspec.Raw(b'{"traits":{"plan":"pro"}}'),
            traits_at="traits",
        )
    )


#: What is odd and still is what it says. Beside each, how many people it makes members.
ODD: dict[str, tuple[list[Entry], int]] = {
    "an identifier of 100,000 characters": ([named(1, "identify", ("user_id", "x" * 100_000))], 1),
    "U+0000 in an identifier and a value": (
        [said(401, rb'{"plan":"pro","a":"\u0000"}'), named(2, "identify", ("user_id", "a\0b"))],
        2,
    ),
    "clocks that are years off": (
        [
            named(3, "identify", ("user_id", "past"), at=-(2**60)),
            named(4, "identify", ("user_id", "far"), at=2**60),
        ],
        2,
    ),
    "aliases in a circle": (
        [named(10 + n, "alias", ("user_id", f"c{n}"), ("user_id", f"c{(n + 1) % 3}")) for n in range(3)],
        1,
    ),
    "an alias of oneself": ([named(20, "alias", ("user_id", "me"), ("user_id", "me"))], 1),
    "a merge storm": (
        [named(1_000 + n, "identify", ("email", "s@b.c"), ("anonymous_id", f"s{n}")) for n in range(10_000)],
        1,
    ),
    "a merge storm of who had been there before": (
        [named(20_000 + n, "identify", ("anonymous_id", f"t{n}")) for n in range(300)]
        + [named(21_000 + n, "identify", ("email", "t@b.c"), ("anonymous_id", f"t{n}")) for n in range(300)],
        1 + 200,
    ),
    "numbers up to 64 bits": ([said(402, b'{"plan":"pro","least":%d,"most":%d}' % (-(2**63), 2**63 - 1))], 1),
    "nesting to the limit": ([said(403, b'{"plan":"pro","deep":' + b'{"a":' * 60 + b"1" + b"}" * 61)], 1),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_applied_and_stops_nobody(engine: Engine, definitions: Definitions, case: str) -> None:
    entries, count = ODD[case]
    take_in(engine, definitions, said(1), *entries, said(2), hours=2)
    assert members(engine) == count + 2
    with engine.connect() as connection:
        assert put_asides(connection) == []
        assert read_checkpoint(connection, CHECKPOINT) == read_head(connection).position


def take_in(engine: Engine, definitions: Definitions, *entries: Entry, hours: int) -> None:
    with engine.begin() as connection:
        append(connection, entries, advance_to=hours * HOUR)
    drain(Pipeline(engine, definitions), 2**62)


def members(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM membership")).scalar_one())


def different(database: str, engine: Engine, definitions: Definitions, home: Path) -> list[Any]:
    """What a rebuild from the log alone finds different from what is live."""
    task = Task(database, KEYS, home / "rebuild", jobs=1, range_rows=700)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    return [one for one in found.tables if not one.equal] + ([found.followed] if found.followed else [])


def test_what_cannot_be_applied_is_left_out_and_named_and_all_else_is_applied(
    database: str, engine: Engine, definitions: Definitions
) -> None:
    good = [said(number) for number in range(200)]
    faulty = list(FAULTY.values())
    take_in(engine, definitions, *good[:90], *faulty[:2], *good[90:150], *faulty[2:], *good[150:], hours=2)
    assert members(engine) == len(good)
    with engine.connect() as connection:
        items = put_asides(connection)
        places = connection.execute(
            text("SELECT position FROM log WHERE stream_id = ANY(:ids)"),
            {"ids": [entry.stream_id for entry in faulty]},
        ).scalars()
        assert sorted(item.position or 0 for item in items) == sorted(places)
        told = connection.execute(text("SELECT count(*) FROM log WHERE topic LIKE 'quarantine.%'"))
        assert told.scalar_one() == len(faulty)
    assert {item.code for item in items} == {"not_applied"}
    assert {item.feed for item in items} == {"unreadable", "app"}
    assert all(item.reason for item in items)


def test_a_rebuild_leaves_out_what_was_left_out(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    take_in(engine, definitions, said(1), *FAULTY.values(), said(2), hours=2)
    take_in(engine, definitions, said(3), hours=3)
    assert different(database, engine, definitions, tmp_path) == []


def test_what_was_mended_is_handed_in_again_as_a_row_of_its_own(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        # A release with a fault, until the next one.
        broken.setattr("domain.fold.set_attributes", lambda *_: 1 // 0)
        take_in(engine, definitions, said(1), hours=2)
    take_in(engine, definitions, said(2), hours=3)
    assert members(engine) == 1
    command = [sys.executable, "-m", "runtime.cli", "quarantine"]
    environment = os.environ | {
        "ROUNDTRIP_HOME": str(tmp_path),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
    }
    listed = subprocess.run([*command, "list"], env=environment, capture_output=True, text=True, check=True)
    [line] = listed.stdout.splitlines()
    id, feed, code, reason, _ = line.split("\t")
    assert (feed, code, reason) == ("app", "not_applied", "ZeroDivisionError in <lambda>")
    done = subprocess.run([*command, "replay", id], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drain(Pipeline(engine, definitions), 2**62)
    assert members(engine) == 2
    assert different(database, engine, definitions, tmp_path) == []
    again = subprocess.run([*command, "replay", "nothing"], env=environment, capture_output=True, text=True)
    assert again.returncode == 2
    assert "roundtrip quarantine list" in again.stderr
