"""Declared imports: queries against real warehouses exactly once, files, schedules, and one leader."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from adapters.database import open_database
from adapters.import_runs import Run
from domain.workspace import Workspace
from runtime.scheduled.run import Place, now, run_declared
from tests.integration.importing import Command, declare, records, running_command
from tests.keys import KEYS
from tests.servers import wait_until

MAPPING = {"identifiers": {"user_id": "user"}, "values": {"score": {"column": "score", "as": "number"}}}


def workspace(**imports: Any) -> dict[str, Any]:
    declared = {name: {"feed": "crm", "mapping": MAPPING} | one for name, one in imports.items()}
    return {"workspace": "imports", "feeds": {"crm": {"format": "files"}}, "imports": declared}


def said(database: str) -> list[tuple[str, Any]]:
    """Who was said to have which score, in the order of the log."""
    return [
        (record["identifiers"][0][1], record.get("name") or record["body"]["traits"]["score"])
        for record in records(database)
    ]


def driver(database: str) -> str:
    return database.replace("+psycopg", "")


@pytest.fixture
def warehouse(database: str) -> str:
    """A table of a model's scores, in a schema of its own of the same real PostgreSQL."""
    with psycopg.connect(driver(database)) as connection:
        connection.execute("CREATE SCHEMA warehouse")
        connection.execute(
            'CREATE TABLE warehouse.scores ("user" text, score numeric, changed_at timestamptz)'
        )
    return database


def run(database: str, document: dict[str, Any], place: Path, **environ: str) -> Run:
    """Runs the one import that is declared, in this process."""
    engine = open_database(database, application="test", keys=KEYS)
    try:
        [(name, one)] = Workspace.model_validate(document).imports.items()
        return run_declared(Place(engine, place, environ), name, one, None, now())
    finally:
        engine.dispose()


def put(database: str, *rows: tuple[str, float | None, str]) -> None:
    with psycopg.connect(driver(database)) as connection:
        connection.cursor().executemany("INSERT INTO warehouse.scores VALUES (%s, %s, %s)", rows)


QUERY = {"sql": "SELECT * FROM warehouse.scores;", "url": {"env": "WAREHOUSE"}}


def test_a_cursor_takes_each_row_once_also_when_killed_and_where_times_are_equal(
    warehouse: str, nats_url: str, tmp_path: Path
) -> None:
    document = workspace(scores={"query": QUERY | {"cursor": "changed_at"}})
    declare(warehouse, document)
    command = Command(warehouse, nats_url, tmp_path, WAREHOUSE=warehouse)
    many = [(f"u-{n}", n / 100_000, f"2026-11-24 10:00:{n // 1_000:02d}Z") for n in range(12_000)]
    put(warehouse, *many)
    for point in ("import.committed:1", "import.before_commit:1", "schedule.before_end:1"):
        killed = command("imports", "run", "scores", ROUNDTRIP_FAILPOINT=point)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = command("imports", "run", "scores")
    assert done.returncode == 0, done.stderr
    assert Counter(said(warehouse)) == Counter((user, score) for user, score, _ in many)
    # The same time as the last one, the same row again, a time before, none: a cursor sees the first two.
    late, before = ("late", 0.5, many[-1][2]), ("before", 0.5, many[0][2])
    put(warehouse, late, many[-1], before)
    assert run(warehouse, document, tmp_path, WAREHOUSE=warehouse).taken == 2
    assert said(warehouse)[12_000:] in ([("late", 0.5), many[-1][:2]], [many[-1][:2], ("late", 0.5)])
    assert run(warehouse, document, tmp_path, WAREHOUSE=warehouse).taken == 0


def test_a_difference_gives_what_was_added_changed_and_removed(
    warehouse: str, nats_url: str, tmp_path: Path
) -> None:
    query = QUERY | {"key": ["user"], "removed_event": "Score Removed"}
    document = workspace(scores={"query": query})
    declare(warehouse, document)
    command = Command(warehouse, nats_url, tmp_path, WAREHOUSE=warehouse)
    put(warehouse, *((f"u-{n}", n, "2026-11-24Z") for n in range(6_000)))
    killed = command("imports", "run", "scores", ROUNDTRIP_FAILPOINT="import.committed:1")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run(warehouse, document, tmp_path, WAREHOUSE=warehouse)
    assert Counter(said(warehouse)) == Counter((f"u-{n}", n) for n in range(6_000))
    with psycopg.connect(driver(warehouse)) as connection:
        connection.execute("UPDATE warehouse.scores SET score = 9 WHERE \"user\" = 'u-1'")
        connection.execute("DELETE FROM warehouse.scores WHERE \"user\" = 'u-2'")
    put(warehouse, ("new", 1, "2026-11-25Z"), ("new", 2, "2026-11-25Z"))
    changed = run(warehouse, document, tmp_path, WAREHOUSE=warehouse)
    assert (changed.taken, changed.known, changed.rejected) == (3, 5_998, 1)
    found = said(warehouse)[6_000:]
    assert ("u-1", 9) in found
    assert ("u-2", "Score Removed") in found
    assert ("new", 1) in found or ("new", 2) in found
    with psycopg.connect(driver(warehouse)) as connection:
        connection.execute("UPDATE warehouse.scores SET score = 1 WHERE \"user\" = 'u-1'")
        connection.execute("DELETE FROM warehouse.scores WHERE score = 2")
    assert run(warehouse, document, tmp_path, WAREHOUSE=warehouse).taken == 1
    assert said(warehouse)[-1] == ("u-1", 1)


def test_a_duckdb_file_gives_traits_and_refuses_what_does_not_fit(database: str, tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute('CREATE TABLE scores ("user" VARCHAR, score VARCHAR, seen TIMESTAMPTZ)')
        connection.execute(
            "INSERT INTO scores VALUES ('a', '0.5', '2026-11-24 10:00Z'), ('b', 'high', now())"
        )
    query = {"sql": "SELECT * FROM scores", "duckdb": str(file), "cursor": "seen"}
    document = workspace(scores={"query": query})
    done = run(database, document, tmp_path)
    assert (done.taken, done.known, done.rejected) == (1, 0, 1), done.reason
    [record] = records(database)
    assert record["body"]["row"] == {"user": "a", "score": "0.5", "seen": "2026-11-24T10:00:00Z"}
    assert record["body"]["traits"] == {"score": 0.5}
    with psycopg.connect(driver(database)) as connection:
        assert connection.execute("SELECT code FROM quarantine").fetchall() == [("wrong_value",)]
    with duckdb.connect(str(file)) as connection:
        connection.execute("INSERT INTO scores VALUES ('c', '1', TIMESTAMPTZ '2099-01-01 00:00Z')")
    assert run(database, document, tmp_path).taken == 1


def test_a_run_that_fails_says_why_in_the_log_and_the_list(
    database: str, nats_url: str, tmp_path: Path
) -> None:
    query = {"sql": "SELECT 'secret' FROM nowhere", "url": {"env": "WAREHOUSE"}, "key": ["user"]}
    document = workspace(scores={"query": query, "schedule": "0 3 * * *"})
    declare(database, document)
    command = Command(database, nats_url, tmp_path)
    assert "WAREHOUSE is not set" in run(database, document, tmp_path).reason
    failed = command("imports", "run", "scores", WAREHOUSE=database)
    assert (failed.returncode, "UndefinedTable" in failed.stderr) == (1, True)
    assert "secret" not in failed.stderr
    shown = command("imports", "list").stdout
    assert "scores: a query, by feed crm" in shown
    assert "schedule 0 3 * * * (UTC), next 20" in shown
    assert "failed: the query failed (UndefinedTable)" in shown
    with psycopg.connect(driver(database)) as connection:
        topics = connection.execute("SELECT topic FROM log WHERE topic LIKE 'import.%' ORDER BY position")
        assert [topic for (topic,) in topics] == ["import.started", "import.failed"] * 2


def test_what_is_due_runs_once_and_a_second_scheduler_takes_over(
    database: str, nats_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "a.csv").write_text("user,score\na,1\nb,wrong\n")
    every_second = {"files": [str(folder)], "schedule": "* * * * * *"}
    declare(database, workspace(files=every_second))
    command = Command(database, nats_url, tmp_path)
    with running_command(command, "schedule") as first, running_command(command, "schedule") as second:
        wait_until(lambda: said(database) == [("a", 1)], "the first file")
        first.kill()
        (folder / "b.csv").write_text("user,score\nc,2\n")
        wait_until(lambda: said(database) == [("a", 1), ("c", 2)], "the second file, by the other one")
        second.terminate()
        assert second.wait(timeout=30) == 0
    assert (tmp_path / "home" / "rejected" / "files" / "a.csv.rejected.ndjson").read_text().count("\n") == 1
    with psycopg.connect(driver(database)) as connection:
        [(doubled,)] = connection.execute("SELECT count(*) - count(DISTINCT due) FROM import_run").fetchall()
        topics = Counter(
            topic for (topic,) in connection.execute("SELECT topic FROM log WHERE topic ~ '^import[.]'")
        )
    assert doubled == 0
    assert topics["import.started"] - topics["import.finished"] in (0, 1)
