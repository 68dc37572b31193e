"""Rebuilding on a real database: equal to live, switched over under load, gone on with after kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import pytest
import yaml
from sqlalchemy import Engine, text

from adapters.database import open_database
from adapters.log.append import append
from adapters.log.read import driver_of, read_head
from adapters.projections.people import load_profiles, seal_profiles
from adapters.projections.subjects import DEFINITIONS, index_subjects
from benchmarks.load import calls
from domain.configuration import Definition
from domain.outbound import OUTCOME_VERSION
from domain.records import Entry, derive_id, entry_of
from domain.workspace import Workspace
from feeds.segment import parse_call
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.leading import run_pipeline
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import rebuild_as_of, rebuild_live, verify_live
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.parting import Parting
from runtime.rebuild.run import Task
from runtime.rebuild.work import PROJECTIONS
from runtime.status import read_status
from tests.keys import KEYS, MASTER_KEY, said
from tests.servers import wait_until

HOUR = 3_600_000_000
_WORKSPACE = Path("benchmarks/end_to_end.workspace.yaml")


class Log(NamedTuple):
    """A database whose pipeline has taken in a log of some thousand rows."""

    url: str
    engine: Engine
    definitions: Definitions
    home: Path

    def task(self, jobs: int = 1, **more: Any) -> Task:
        return Task(self.url, KEYS, self.home / "rebuild", jobs=jobs, range_rows=700, **more)

    def head(self) -> int:
        with self.engine.connect() as connection:
            return read_head(connection).position

    def take_in(self) -> None:
        drain(Pipeline(self.engine, self.definitions), self.head())
        drain(Pipeline(self.engine, self.definitions), self.head())

    def rows(self, table: str, schema: str = "public") -> list[Any]:
        with self.engine.connect() as connection:
            return sorted(map(tuple, connection.execute(text(f"SELECT * FROM {schema}.{table}"))))

    def everything(self, schema: str = "public") -> dict[str, list[Any]]:
        return {table: self.rows(table, schema) for table in PROJECTIONS if table != "definition"}


def workspace(**changed: Any) -> Workspace:
    return Workspace.model_validate(yaml.safe_load(_WORKSPACE.read_text()) | {"clock": "simulated"} | changed)


def entries(count: int, seed: int = 1) -> list[Entry]:
    made = []
    for call in calls(count, seed):
        if seed > 1 and call.get("anonymousId"):
            call["anonymousId"] += f"-{seed}"
        [record] = parse_call("app", call["type"], json.dumps(call).encode(), 10**18)
        made.append(entry_of(record))
    return made


@pytest.fixture
def log(database: str, tmp_path: Path) -> Iterator[Log]:
    engine = open_database(database, application="test", keys=KEYS)
    with open_definitions(database) as definitions:
        found = Log(database, engine, definitions, tmp_path)
        apply_workspace(engine, definitions, workspace())
        begin = 1_900_000_000_000_000
        for number, start in enumerate(range(0, 1_500, 250)):
            with engine.begin() as connection:
                append(connection, entries(1_500)[start : start + 250], advance_to=begin + number * HOUR)
            found.take_in()
        audiences = workspace().audiences
        del audiences["pro_buyers"]
        apply_workspace(engine, definitions, workspace(audiences=audiences))
        with engine.begin() as connection:
            append(connection, entries(500, seed=2), advance_to=begin + 30 * HOUR)
        id = said(database, "outbound.requested")[0]["id"]
        state = json.dumps({"id": id, "connection": "ads", "status": "delivered", "attempts": 2}).encode()
        with engine.begin() as connection:
            append(connection, [Entry(id, OUTCOME_VERSION, "outbound.delivered", None, state)])
        found.take_in()
        yield found
    engine.dispose()


@pytest.mark.parametrize("missed", [("buyers",), ()], ids=["an audience that a connection sends", "all"])
def test_what_the_index_by_subject_lacks_is_found_in_the_log_itself(
    log: Log, missed: tuple[str, ...]
) -> None:
    with log.engine.begin() as connection:
        while index_subjects(connection):
            pass
        connection.execute(
            text(
                "DELETE FROM subject_position p USING log_stream s WHERE p.subject = :definitions"
                " AND s.position = p.position AND (:all OR s.stream_id = ANY(:missed))"
            ),
            {
                "definitions": DEFINITIONS,
                "all": not missed,
                "missed": [Definition.create_id("audience", name) for name in missed],
            },
        )
    verified = verify_live(log.engine, log.task(), log.definitions, silent)
    assert [one.projection for one in verified.tables if not one.equal] == []
    assert verified.followed is None


def silent(_at: int, _goal: int) -> None:
    pass


def test_what_is_rebuilt_by_two_processes_equals_what_is_live(log: Log) -> None:
    seen: list[tuple[int, int]] = []
    verified = verify_live(log.engine, log.task(jobs=2), log.definitions, lambda *at: seen.append(at))
    assert [one.projection for one in verified.tables if not one.equal] == []
    assert verified.followed is None
    assert all(one.live.rows for one in verified.tables)
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == log.head()
    with log.engine.connect() as connection:
        assert connection.execute(text("SELECT to_regnamespace('roundtrip_rebuild')")).scalar() is None
    assert not (log.home / "rebuild").exists()


def test_a_difference_is_named_with_the_profile_and_the_position_at_which_it_parts(log: Log) -> None:
    with log.engine.begin() as connection:
        id = connection.execute(text("SELECT profile::text FROM profile ORDER BY 1 LIMIT 1")).scalar_one()
        profile = load_profiles(connection, [id])[id]
        # As if the pipeline had passed over the newest of the events that a condition counts.
        kept = next(kept for kept in profile.conditions.values() if isinstance(kept[0][0], int))
        missed = kept.pop(0)[1]
        damaged = seal_profiles(connection, [profile])[id]
        driver_of(connection).execute("UPDATE profile SET state = %s WHERE profile = %s", (damaged, id))
    with log.engine.begin() as connection:
        append(connection, entries(20, seed=14))
    log.take_in()
    verified = verify_live(log.engine, log.task(), log.definitions, silent)
    assert [one.projection for one in verified.tables if not one.equal] == ["profile"]
    assert verified.parting == Parting("profile", id, missed)
    assert verified.followed is None


def test_a_membership_that_the_log_does_not_bear_out_is_named(log: Log) -> None:
    with log.engine.begin() as connection:
        profile = connection.execute(text("SELECT profile::text FROM membership LIMIT 1")).scalar_one()
        body = {"audience": "buyers", "profile": profile, "at": 1, "cause": 5, "because": []}
        entry = Entry(
            derive_id("audience", "made up"), 1, "audience.entered", profile, json.dumps(body).encode()
        )
        [put] = append(connection, [entry]).appended
        connection.execute(
            text("UPDATE membership SET entered_at = entered_at + 1 WHERE profile = CAST(:p AS uuid)"),
            {"p": profile},
        )
    log.take_in()
    told = command(log, "--verify")
    assert told.returncode == 1, told.stderr
    assert f"audience.entered of profile {profile}: the log has it at position {put.position}" in told.stdout
    assert f"first to part: profile {profile}, at position " in told.stdout


def test_a_rebuild_mends_tables_and_keeps_their_rights_and_indexes(log: Log) -> None:
    before = log.everything()
    assert any(row[-2] == 2 for row in before["outbound"])
    with log.engine.begin() as connection:
        shape = indexes(connection)
        connection.execute(text("GRANT SELECT ON profile TO PUBLIC"))
        connection.execute(text("DELETE FROM profile WHERE profile::text < '8'"))
        connection.execute(text("UPDATE membership SET entered_at = 0"))
        connection.execute(text("TRUNCATE outbound"))
    position = rebuild_live(log.engine, log.task(), log.definitions, silent)
    assert position == log.head()
    assert log.everything() == before
    with log.engine.connect() as connection:
        assert indexes(connection) == shape
        granted = connection.execute(
            text(
                "SELECT count(*) FROM information_schema.table_privileges WHERE table_name = 'profile'"
                " AND grantee = 'PUBLIC' AND privilege_type = 'SELECT'"
            )
        )
        assert granted.scalar() == 1
    log.take_in()
    assert verify_live(log.engine, log.task(), log.definitions, silent).followed is None


def indexes(connection: Any) -> Any:
    found = connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(:t)"
            " UNION ALL SELECT relname, reloptions::text FROM pg_class WHERE relname = ANY(:t) ORDER BY 1, 2"
        ),
        {"t": list(PROJECTIONS)},
    )
    return list(map(tuple, found))


def test_the_pipeline_goes_on_while_the_tables_are_switched(log: Log) -> None:
    stop = Event()
    pipeline = Thread(target=run_pipeline, args=(log.engine, log.definitions, stop))
    more = [entries(300, seed) for seed in range(3, 9)]

    def ingest() -> None:
        for batch in more:
            with log.engine.begin() as connection:
                append(connection, batch)

    ingesting = Thread(target=ingest)
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE membership SET entered_at = 0"))
    pipeline.start()
    ingesting.start()
    try:
        rebuild_live(log.engine, log.task(jobs=2), log.definitions, silent)
        ingesting.join()
        wait_until(lambda: not lag(log.engine), "the pipeline to catch up")
        verified = verify_live(log.engine, log.task(), log.definitions, silent)
    finally:
        stop.set()
        pipeline.join()
    assert [one.projection for one in verified.tables if not one.equal] == []
    assert verified.followed is None


def lag(engine: Engine) -> int:
    return int(read_status(engine)["readers"]["pipeline"]["lag"])


def command(log: Log, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUNDTRIP_")}
    kept["ROUNDTRIP_MASTER_KEY"] = MASTER_KEY
    environment = {
        "ROUNDTRIP_HOME": str(log.home),
        "ROUNDTRIP_DATABASE_URL": log.url,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "runtime.cli", "rebuild", *arguments],
        env=kept | environment | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("place", ["rebuild.before_shard:2", "rebuild.before_switch:1"])
def test_a_rebuild_killed_goes_on_where_it_was(log: Log, place: str) -> None:
    before = log.everything()
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE membership SET entered_at = 0"))
    broken = log.everything()
    killed = command(log, "--jobs", "1", ROUNDTRIP_FAILPOINT=place)
    assert killed.returncode == -9, killed.stderr
    assert log.everything() == broken
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE roundtrip_rebuild.rebuilt_shard SET shard = shard"))
        token = connection.execute(text("SELECT token FROM roundtrip_rebuild.rebuild")).scalar()
        done = connection.execute(text("SELECT count(*) FROM roundtrip_rebuild.rebuilt_shard")).scalar()
        append(connection, entries(50, seed=11))
    log.take_in()
    assert done
    files = {file: file.stat().st_mtime_ns for file in (log.home / "rebuild").glob("*.sorted")}
    watched = command(log, "--jobs", "1", ROUNDTRIP_FAILPOINT="rebuild.before_switch:1")
    assert watched.returncode == -9
    assert {file: file.stat().st_mtime_ns for file in files} == files
    with log.engine.connect() as connection:
        assert connection.execute(text("SELECT token FROM roundtrip_rebuild.rebuild")).scalar() == token
    ended = command(log, "--jobs", "2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len(log.everything()["membership"]) >= len(before["membership"])
    assert verify_live(log.engine, log.task(), log.definitions, silent).followed is None


def test_the_state_at_a_position_is_what_it_was_then(log: Log) -> None:
    then, position = log.everything(), log.head()
    with log.engine.begin() as connection:
        append(connection, entries(100, seed=12))
    log.take_in()
    assert log.everything() != then
    schema = rebuild_as_of(log.engine, log.task(goal=position), log.definitions, silent)
    assert schema == f"roundtrip_as_of_{position}"
    assert log.everything(schema) == then
    done = command(log, "membership", "--as-of", str(position))
    assert done.returncode == 0, done.stderr
    assert schema in done.stdout
    assert log.rows("membership", schema) == then["membership"]
    assert len(command(log, "--as-of", "1000000").stderr.splitlines()) == 1


def test_a_rebuild_ends_where_one_of_its_processes_is_killed_and_goes_on_where_it_was(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = log.everything()
    with log.engine.begin() as connection:
        connection.execute(text("UPDATE membership SET entered_at = 0"))
    broken = log.everything()
    # Read by the other process alone, which is killed as it holds what all of them wait for.
    monkeypatch.setenv("ROUNDTRIP_FAILPOINT", "rebuild.taking:1")
    with pytest.raises(RebuildError, match="one of the 2 processes of the rebuild was killed"):
        rebuild_live(log.engine, log.task(jobs=2), log.definitions, silent)
    assert log.everything() == broken
    monkeypatch.delenv("ROUNDTRIP_FAILPOINT")
    seen: list[int] = []
    rebuild_live(log.engine, log.task(jobs=2), log.definitions, lambda at, _: seen.append(at))
    assert seen[1] > 0
    assert log.everything() == before
