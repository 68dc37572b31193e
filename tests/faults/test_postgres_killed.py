"""PostgreSQL dies under load: what was answered is in the log once, and meanwhile the answer is to try again."""

from __future__ import annotations

import signal

import psutil
import psycopg

from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import platform
from runtime.engines import running
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.traffic import Traffic
from tests.faults.verifying import verify
from tests.servers import wait_until


def test_killed_backends_and_a_killed_server_lose_and_double_nothing(push: Simulator) -> None:
    with platform(WORKSPACE, {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url}) as ours:
        engines = running(ours.home)
        assert engines is not None
        traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
        with traffic.flowing():
            traffic.goes_on(100)
            with psycopg.connect(engines.database_url.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'roundtrip serve'"
                )
            traffic.goes_on(100)
            postmaster = next(
                p
                for p in psutil.Process(ours.process_id).children(recursive=True)
                if p.name() == "postgres" and (parent := p.parent()) and parent.name() != "postgres"
            )
            postmaster.send_signal(signal.SIGKILL)
            wait_until(lambda: bool(traffic.refused), "a refusal while PostgreSQL is away")
            traffic.goes_on(100)
        assert {response.status_code for response in traffic.refused} == {503}
        assert all(response.headers["retry-after"] == "1" for response in traffic.refused)
        verify(ours, engines, traffic.answered, push)
