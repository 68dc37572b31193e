"""The supervisor: whatever ends it, no child survives and the next start finds the data.

Run as root these tests run twice, the second time as an ordinary user.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from runtime.processes import pause
from tests.servers import REPOSITORY, User, python_of, temporary_home, users, wait_until

PROGRAM = """
import json, os, sys
from pathlib import Path
from threading import Event
from runtime import processes
from runtime.embedded.nats import start_nats
from runtime.embedded.postgres import start_postgres

home = Path(sys.argv[1])
processes.GRACE = 0.5
parts = [
    processes.Part("steady", [sys.executable, "-c", "import time; time.sleep(600)"]),
    processes.Part("stubborn", [sys.executable, "-c",
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(600)"]),
    processes.Part("crashing", [sys.executable, "-c",
        "import os, sys; print(os.environ['GREETING'], flush=True); sys.exit(3)"], {"GREETING": "hello"}),
]
with processes.hold_home(home), start_postgres(home) as postgres, start_nats(home) as nats:
    print(json.dumps({"url": postgres.url, "postgres": postgres.pid, "nats": nats.pid}), flush=True)
    processes.run_parts(parts, stop=Event(), home=home, engines=[postgres, nats])
"""


class Supervisor:
    """A running supervisor with two engines and three parts, in a session of its own as in a terminal."""

    def __init__(self, home: Path, user: User) -> None:
        self.home = home
        self.errors = home / "terminal"
        identity: dict[str, Any] = {}
        if user.uid is not None:
            identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
            if not self.errors.exists():
                self.errors.touch()
                self.errors.chmod(0o666)
        lives = self.log("stubborn").count("ready")
        python, environment = python_of(user) or (sys.executable, {})
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [python, "-c", PROGRAM, str(home)],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env={**os.environ, **environment},
                start_new_session=True,
                **identity,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.said = json.loads(line)
        wait_until(lambda: self.log("stubborn").count("ready") > lives, "the stubborn part")
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def log(self, part: str) -> str:
        file = self.home / "log" / f"{part}.log"
        return file.read_text() if file.exists() else ""

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        url = make_url(self.said["url"]).set(drivername="postgresql")
        return psycopg.connect(url.render_as_string(), autocommit=True)


@contextmanager
def supervisor(home: Path, user: User) -> Iterator[Supervisor]:
    running = Supervisor(home, user)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            # Some were started again meanwhile.
            running.family = psutil.Process(running.process.pid).children(recursive=True)
            running.process.kill()
        running.process.communicate()
        wait_until(partial(gone, running), "the children's end")


def gone(running: Supervisor) -> bool:
    return not any(map(runs, running.family))


def runs(process: psutil.Process) -> bool:
    """Whether it lives; psutil knows it by its start too, so a pid that is used again does not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def killed(running: Supervisor) -> None:
    running.process.kill()


def killed_with_the_whole_tree(running: Supervisor) -> None:
    running.process.kill()
    for child in running.family:
        # The crashing part is often between two lives.
        with suppress(psutil.NoSuchProcess):
            child.kill()


def interrupted(running: Supervisor) -> None:
    os.killpg(running.process.pid, signal.SIGINT)


def terminated(running: Supervisor) -> None:
    running.process.terminate()


@pytest.fixture(params=users(), ids=lambda user: user.name)
def user(request: pytest.FixtureRequest) -> User:
    user: User = request.param
    if python_of(user) is None:
        pytest.skip("an ordinary user can reach no Python of this version, or not this repository")
    return user


def test_no_child_survives_and_the_data_is_found_again(user: User) -> None:
    ways: list[Callable[[Supervisor], None]] = [interrupted, terminated, killed_with_the_whole_tree, killed]
    with temporary_home(user) as home:
        for number, end in enumerate(ways):
            with supervisor(home, user) as running, running.connect() as connection:
                connection.execute("create table if not exists kept (way int)")
                assert connection.execute("select count(*) from kept").fetchone() == (number,)
                connection.execute("insert into kept values (%s)", [number])
                end(running)
                if end is killed:
                    # At once, while the old servers are still shutting down.
                    with supervisor(home, user) as again, again.connect() as found:
                        assert found.execute("select count(*) from kept").fetchone() == (len(ways),)
                running.process.wait(20)
                wait_until(partial(gone, running), f"the children's end when {end.__name__}")
                gentle = end in (interrupted, terminated)
                assert not gentle or running.process.returncode == 0, running.errors.read_text()
                assert not gentle or "stubborn has not ended within 0.5 s" in running.errors.read_text()


def test_what_crashes_is_started_again_and_reported_in_one_line() -> None:
    ourselves = users()[0]
    with temporary_home() as home, supervisor(home, ourselves) as running:
        os.kill(running.said["postgres"], signal.SIGKILL)
        os.kill(running.said["nats"], signal.SIGKILL)
        wait_until(lambda: running.log("crashing").count("hello") >= 2, "the part's second life")
        wait_until(lambda: postgres_answers(running), "PostgreSQL's second life")
        said = running.errors.read_text()
        log = home / "log" / "crashing.log"
        assert f"crashing ended with exit code 3; starting it again in 0.5 s (log: {log})\n" in said
        assert "postgres was ended by SIGKILL; starting it again in 0.5 s" in said
        assert "nats was ended by SIGKILL; starting it again in 0.5 s" in said

        with pytest.raises(AssertionError, match=rf"process {running.process.pid} already runs Roundtrip"):
            Supervisor(home, ourselves)
        assert running.process.poll() is None


def test_pause_doubles_up_to_a_bound() -> None:
    assert [pause(crashes) for crashes in (1, 2, 3, 7, 1000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def postgres_answers(running: Supervisor) -> bool:
    try:
        with running.connect() as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False
