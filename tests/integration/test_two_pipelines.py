"""Two pipelines at once: one takes records in, whatever the other has seen, and nothing is written by both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import msgspec
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from adapters.log.append import append
from adapters.projections.checkpoint import LostLeadError
from adapters.projections.people import load_graph, load_profiles
from domain.profiles import nodes
from domain.records import Entry, Identifier, Record, entry_of, node_id
from domain.workspace import Workspace
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.status import read_status
from tests.keys import KEYS, MASTER_KEY, said
from tests.servers import wait_until

#: How often the two meet two people at once who turn out to be one.
ROUNDS = 8


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    declared = {"workspace": "shop", "feeds": {"app": {"format": "files"}}}
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(declared))
        drain(Pipeline(engine, definitions), 2**62)
        yield definitions


def pair(number: int) -> tuple[Identifier, Identifier]:
    return Identifier("email", f"{number}@example.com"), Identifier("anonymous_id", f"d-{number}")


def meeting(number: int) -> list[Entry]:
    """Two people, and then two records that each say that they are one, in opposite order."""
    email, device = pair(number)
    several = [(email,), (device,), (email, device), (device, email)]
    body = msgspec.Raw(b"{}")
    return [
        entry_of(
            Record(
                feed="app",
                message_id=f"{number}-{place}",
                type="identify",
                occurred_at=1,
                identifiers=identifiers,
                body=body,
            )
        )
        for place, identifiers in enumerate(several)
    ]


def append_all(engine: Engine, entries: list[Entry]) -> None:
    with engine.begin() as connection:
        append(connection, entries)


def test_what_the_pipeline_has_derived_it_does_not_take_in_again(
    database: str, engine: Engine, definitions: Definitions
) -> None:
    pipeline = Pipeline(engine, definitions)
    drain(pipeline, 2**62)
    append_all(engine, meeting(0))
    assert [pipeline.turn(), pipeline.turn()] == [4, 0]
    status = read_status(engine)
    assert status["readers"]["pipeline"]["lag"] == 0
    assert len(said(database, "profile.merged")) == 1


def assert_one_person_each(database: str, engine: Engine, rounds: range) -> None:
    with engine.connect() as connection:
        for number in rounds:
            ends = {node_id(one) for one in pair(number)}
            graph = load_graph(connection, ends)
            [profile] = load_profiles(connection, graph.values()).values()
            assert set(nodes(profile)) == graph.keys() == ends
        assert connection.execute(text("SELECT count(*) FROM profile")).scalar() == len(rounds)
    merged = said(database, "profile.merged")
    assert len({(one["profile"], one["merged"]) for one in merged}) == len(merged) == len(rounds)


def test_of_two_that_take_the_same_in_at_once_one_writes_and_the_other_is_turned_away(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    turned_away = 0
    for number in range(ROUNDS):
        two = [Pipeline(engine, definitions) for _ in range(2)]
        # Each of them is at the log's end, as one that has led before.
        for pipeline in two:
            drain(pipeline, 2**62)
        append_all(engine, meeting(number))
        barrier, answers = Barrier(2), list[int | Exception]()

        def take_in(
            pipeline: Pipeline, barrier: Barrier = barrier, answers: list[int | Exception] = answers
        ) -> None:
            barrier.wait()
            try:
                answers.append(pipeline.turn())
            except (LostLeadError, DBAPIError) as error:
                answers.append(error)

        threads = [Thread(target=take_in, args=(pipeline,)) for pipeline in two]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answer for answer in answers if isinstance(answer, int)] == [4], answers
        turned_away += sum(isinstance(answer, LostLeadError) for answer in answers)
    assert turned_away
    drain(Pipeline(engine, definitions), 2**62)
    assert_one_person_each(database, engine, range(ROUNDS))
    task = Task(database, KEYS, tmp_path / "rebuild", jobs=1)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    assert [one for one in found.tables if not one.equal] == []


def test_of_two_processes_one_leads_and_the_other_goes_on_where_it_was_killed(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    environment = os.environ | {
        "ROUNDTRIP_HOME": str(tmp_path),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
    }
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    command = [sys.executable, "-m", "runtime.cli", "pipeline"]
    started = []
    append_all(engine, meeting(0))
    try:
        for log in logs:
            with log.open("wb") as output:
                started.append(
                    subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                )

        def leads() -> list[int]:
            return [number for number, log in enumerate(logs) if b"pipeline leads" in log.read_bytes()]

        def caught_up() -> bool:
            return not read_status(engine)["readers"]["pipeline"]["lag"]

        wait_until(lambda: bool(leads()) and caught_up(), "one of them to lead and to take all in")
        [leader] = leads()
        append_all(engine, meeting(1))
        wait_until(caught_up, "the leader to take in what came since")
        assert leads() == [leader]
        assert [process.poll() for process in started] == [None, None]
        started[leader].send_signal(signal.SIGKILL)
        append_all(engine, meeting(2))
        wait_until(lambda: len(leads()) == 2 and caught_up(), "the other one to lead")
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert_one_person_each(database, engine, range(3))
