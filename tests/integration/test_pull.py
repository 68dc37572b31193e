"""A vendor's stream, pulled by a process of its own that is killed and cut off: every event once, in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.quarantine import put_asides
from feeds.airship import read_line
from runtime.definitions import apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from runtime.pull.place import OvertakenError, Place, Pulled, commit, read_place
from runtime.workspace_file import read_workspace
from tests.integration.simulating import Simulator, running
from tests.keys import KEYS, opened, said
from tests.servers import wait_until

TOKEN = "stream-token"
WORKSPACE = """
workspace: pulling
feeds:
  engagement:
    format: airship
    secret: {env: AIRSHIP_TOKEN}
    settings: {app_key: key-1, url: URL}
"""


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"event-{number}",
        "type": "SEND",
        "occurred": "2025-11-24T16:00:00.000Z",
        "processed": "2025-11-24T16:00:00.100Z",
        "device": {"channel": f"c-{number}", "device_type": "IOS"},
        "user": {"named_user_id": f"u-{number}"},
        "body": {"push_id": "p-1"},
    } | changes


class Log:
    """What is in the log of the test's database."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, topic: str) -> list[Any]:
        return said(self.url, topic)

    def ids(self) -> list[str]:
        return [row["message_id"] for row in self.rows("track.")]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Simulator]:
    with running("event_stream", tmp_path, "--token", TOKEN, "--app-key", "key-1") as simulator:
        yield simulator


@pytest.fixture
def log(database: str, stream: Simulator, tmp_path: Path) -> Log:
    """A log whose workspace declares the stream."""
    file = tmp_path / "roundtrip.yaml"
    file.write_text(WORKSPACE.replace("URL", str(stream.http.base_url).rstrip("/")))
    engine = open_database(database, application="test", keys=KEYS)
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, read_workspace(file))
        drain(Pipeline(engine, definitions), 10)
    engine.dispose()
    return Log(database)


@contextmanager
def pulling(database: str, failpoint: str = "") -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_FAILPOINT": failpoint,
        "AIRSHIP_TOKEN": TOKEN,
    }
    process = subprocess.Popen([sys.executable, "-m", "runtime.cli", "pull"], env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def test_killed_at_every_step_and_cut_off_it_takes_each_event_once(
    database: str, log: Log, stream: Simulator
) -> None:
    stream.post("events", {"events": [event(n) for n in range(700)]})
    for point in ("pull.before_commit:1", "pull.committed:1"):
        with pulling(database, point) as process:
            assert process.wait(60) == -signal.SIGKILL
    # A duplicate as Airship sends them: the same id at another offset.
    stream.post("events", {"events": [event(3), *(event(n) for n in range(700, 710))]})
    stream.post("cut", {"after": [105, 0, 7]})
    stream.post("faults", {"next": [{"status": 503}]})
    with pulling(database):
        wait_until(lambda: len(log.ids()) == 710, "every event")
        stream.post("events", {"events": [event(710)]})
        wait_until(lambda: len(log.ids()) == 711, "an event that happens now")
    assert log.ids() == [f"event-{n}" for n in range(711)]
    asked = stream.get("opened")
    assert asked[0] == asked[1] == {"start": "EARLIEST"}
    offsets = [int(one["resume_offset"]) for one in asked[2:]]
    assert offsets == sorted(offsets)
    assert len(offsets) >= 4
    assert log.rows("stream.engagement")[-1] == {"feed": "engagement", "offset": f"{712:016d}"}
    [record] = [row for row in log.rows("track.") if row["message_id"] == "event-0"]
    assert record["name"] == "Push Sent"
    assert record["identifiers"][0] == ["user_id", "u-0"]


def test_what_cannot_be_read_is_put_aside_and_what_follows_does_not_wait(
    database: str, log: Log, stream: Simulator
) -> None:
    stream.post("events", {"events": [event(0), event(1, occurred="yesterday"), event(2)]})
    with pulling(database):
        wait_until(lambda: len(log.ids()) == 2, "the good ones")
    assert [row["code"] for row in log.rows("quarantine.engagement")] == ["unreadable_time"]
    with opened(database) as connection:
        [item] = put_asides(connection)
    assert b"event-1" in item.body


def test_a_second_process_stands_by_and_takes_over(database: str, log: Log, stream: Simulator) -> None:
    stream.post("events", {"events": [event(0)]})
    with pulling(database) as first:
        wait_until(lambda: len(log.ids()) == 1, "the first to pull")
        with pulling(database):
            first.kill()
            first.wait()
            stream.post("events", {"events": [event(1)]})
            wait_until(lambda: len(log.ids()) == 2, "the second to take over")
    assert log.ids() == ["event-0", "event-1"]


def test_a_process_that_was_overtaken_changes_nothing(database: str, log: Log) -> None:
    engine: Engine = open_database(database, application="test", keys=KEYS)

    def pulled(number: int) -> list[Pulled]:
        raw = json.dumps(event(number, offset=str(number))).encode()
        line = read_line("engagement", raw, 0)
        assert line is not None
        return [Pulled(raw, line)]

    begin = read_place(engine, "engagement")
    assert begin == Place("", 0)
    assert commit(engine, "engagement", pulled(1), begin, 0) == Place("1", 1)
    with pytest.raises(OvertakenError):
        commit(engine, "engagement", pulled(2), begin, 0)
    assert read_place(engine, "engagement") == Place("1", 1)
    assert log.ids() == ["event-1"]
    engine.dispose()
