"""Several processes answer on one port: each appends what it answered for, and none outlives the first."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil

from benchmarks.platform import platform
from tests.integration.simulating import is_running
from tests.servers import wait_until

WORKSPACE = Path(__file__).with_name("workspace.yaml")
KEY = "write-key-of-the-workers"


def answering(supervisor: int) -> list[psutil.Process]:
    """The processes of `roundtrip serve`, the first before those that it started."""
    found = [p for p in psutil.Process(supervisor).children(recursive=True) if "serve" in p.cmdline()]
    return sorted(found, key=lambda process: "--http-only" in process.cmdline())


def test_all_processes_answer_and_a_killed_one_is_replaced() -> None:
    environment = {"ROUNDTRIP_APP_WRITE_KEY": KEY, "ROUNDTRIP_HTTP_PROCESSES": "2"}
    authorization = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()
    with platform(WORKSPACE, environment) as ours:
        wait_until(lambda: len(answering(ours.process_id)) == 2, "both processes")
        [first, second] = answering(ours.process_id)

        def call(number: int) -> int:
            """Each on a connection of its own, which the kernel gives to either process."""
            body = {"event": "Seen", "userId": "u", "messageId": f"worker-{number}"}
            answer = httpx2.post(
                f"{ours.url}/v1/track", json=body, headers={"Authorization": authorization}, trust_env=False
            )
            return answer.status_code

        wait_until(lambda: all(call(n) == 200 for n in range(16)), "every call to be taken")

        def calls_in_the_log() -> int:
            return int(ours.status()["log"]["position"])

        before = calls_in_the_log()
        assert [call(n) for n in range(16)] == [200] * 16
        assert calls_in_the_log() == before, "the same calls again are in the log once, whoever answers"

        second.send_signal(signal.SIGKILL)
        wait_until(lambda: not first.is_running(), "the first to end with it")
        wait_until(lambda: len(answering(ours.process_id)) == 2, "both to be there again")
        wait_until(lambda: _answers(call), "calls to be taken again")

        [first, second] = answering(ours.process_id)
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: not is_running(second.pid), "the second to end with the first")
        wait_until(lambda: _answers(call), "calls to be taken again")


def _answers(call: Callable[[int], int]) -> bool:
    try:
        return call(99) == 200
    except httpx2.TransportError:
        return False
