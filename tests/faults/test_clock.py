"""The machine's clock is two days off, one way and then the other, and jumps in the middle: the log's own time never
goes back, and nothing is lost, stopped or sent twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from adapters.log.read import iterate
from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import platform
from runtime.engines import running
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.traffic import Traffic
from tests.faults.verifying import verify
from tests.keys import opened
from tests.servers import temporary_home

DAY_S = 86_400


class Clock:
    """What PostgreSQL and the parts take the time for; NATS has the right one. Its `environment` gives it to them."""

    def __init__(self, place: Path) -> None:
        library = place / "wrong_clock.so"
        source = Path(__file__).with_name("wrong_clock.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        self._file = place / "clock"
        self.environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(self._file)}

    def set(self, days: int) -> None:
        """It is off by so many days from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(str(days * DAY_S))
        new.rename(self._file)


@pytest.fixture
def clock() -> Iterator[Clock]:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, to give the processes another clock")
    # PostgreSQL's own user reads there too.
    with temporary_home() as home:
        yield Clock(home)


def test_a_clock_that_is_wrong_and_jumps_changes_no_order(clock: Clock, push: Simulator) -> None:
    clock.set(2)
    environment = {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url, **clock.environment}
    with platform(WORKSPACE, environment) as ours:
        engines = running(ours.home)
        assert engines is not None
        traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
        with traffic.flowing():
            for days in (2, -2, 0):
                clock.set(days)
                traffic.goes_on(200)
        assert not traffic.refused
        with opened(engines.database_url) as connection:
            recorded = [row.recorded_at for row in iterate(connection)]
        assert all(before <= after for before, after in pairwise(recorded))
        assert recorded[0] > (time.time() + DAY_S) * 1_000_000, "the clock was not off"
        # It had gone ahead, and stands there until the clock has come as far.
        assert recorded[-1] < (time.time() + 3 * DAY_S) * 1_000_000
        verify(ours, engines, traffic.answered, push)
