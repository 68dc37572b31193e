"""The HTTP API with hardly a descriptor or a byte of memory left: it sheds load, loses nothing, and gets over it."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

import httpx2
import psutil
import pytest

from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import Platform, platform
from runtime.engines import Engines, running
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.traffic import Traffic
from tests.faults.verifying import verify
from tests.servers import wait_until

KEY = SECRETS["ROUNDTRIP_APP_WRITE_KEY"]
#: Together with what the server itself holds open, more than it may.
CONNECTIONS = 200
DESCRIPTORS = 64
#: About 450 KB each.
BATCHES = 150
PAD = "x" * 4_400
EVENTS = 100


@pytest.fixture
def ours(push: Simulator) -> Iterator[Platform]:
    environment = {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url, "ROUNDTRIP_HTTP_PROCESSES": "1"}
    with platform(WORKSPACE, environment) as ours:
        yield ours


def serving(ours: Platform) -> psutil.Process:
    """The process of `serve`."""
    children = psutil.Process(ours.process_id).children()
    return next(one for one in children if one.cmdline()[-1:] == ["serve"])


@contextmanager
def limited(process: psutil.Process, what: int, to: int) -> Iterator[None]:
    """It may have no more than so much. One that ends of it leaves the limit behind."""
    _, hard = process.rlimit(what)
    process.rlimit(what, (to, hard))
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.rlimit(what, (hard, hard))


def engines_of(ours: Platform) -> Engines:
    engines = running(ours.home)
    assert engines is not None
    return engines


def test_without_descriptors_connections_are_turned_away_and_the_others_answered(
    ours: Platform, push: Simulator
) -> None:
    traffic = Traffic(ours.url, KEY)
    host, _, port = ours.url.rpartition("/")[2].partition(":")
    with traffic.flowing():
        traffic.goes_on()
        with limited(serving(ours), resource.RLIMIT_NOFILE, DESCRIPTORS):
            idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(CONNECTIONS)]
            try:
                # Those that were connected before are answered.
                traffic.goes_on(200)
                wait_until(lambda: sum(map(is_closed, idle)) > CONNECTIONS - DESCRIPTORS, "most to be closed")
            finally:
                for one in idle:
                    one.close()
            traffic.goes_on()
    traffic.some()
    verify(ours, engines_of(ours), traffic.answered, push)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_without_memory_what_was_answered_is_there_and_the_rest_may_come_again(
    ours: Platform, push: Simulator
) -> None:
    traffic = Traffic(ours.url, KEY)
    traffic.some()
    process = serving(ours)
    # No more address space than it has: what it needs for these is not to be had.
    with limited(process, resource.RLIMIT_AS, process.memory_info().vms), traffic.flowing():
        with ThreadPoolExecutor(40) as callers:
            answers = dict(
                zip(range(BATCHES), callers.map(lambda n: batch(ours, n), range(BATCHES)), strict=True)
            )
        shed = [n for n, status in answers.items() if status != 200]
        assert shed, "there was memory for all of them; the test tries nothing"
        assert {status for status in answers.values() if status} <= {200, 408, 429, 503}
    for number in shed:
        wait_until(partial(is_taken, ours, number), "what was turned away to be taken")
    traffic.some()
    heavy = {f"heavy-{n}.{i}" for n in range(BATCHES) for i in range(EVENTS)}
    verify(ours, engines_of(ours), {*traffic.answered, *heavy}, push)


def is_taken(ours: Platform, number: int) -> bool:
    return batch(ours, number) == 200


def batch(ours: Platform, number: int) -> int:
    """Hands in a large batch, always the same of a number; what was answered, 0 where nothing was."""
    calls = [
        {
            "type": "track",
            "event": "Large",
            "userId": f"large-{number}",
            "messageId": f"heavy-{number}.{n}",
            "properties": {"pad": PAD},
        }
        for n in range(EVENTS)
    ]
    with suppress(httpx2.TransportError):
        answer = httpx2.post(
            f"{ours.url}/v1/batch", json={"batch": calls}, auth=(KEY, ""), trust_env=False, timeout=60
        )
        return answer.status_code
    return 0
