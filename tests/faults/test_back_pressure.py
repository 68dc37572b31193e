"""The log falls behind: calls are answered 429 before memory grows, and what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import psycopg
import pytest

from runtime.embedded.nats import start_nats
from tests.integration.importing import declare, message_ids
from tests.servers import REPOSITORY, temporary_home, wait_until

KEY = "pressure-write-key"
CONNECTIONS = 200
REQUESTS = 1_500
#: So many are turned away before the log gets on.
TURNED_AWAY = 800
EVENTS = 100
#: Together about 450 KB a request: all of them are far more than may wait.
PAD = "x" * 4_300
MEGABYTE = 1024 * 1024


@pytest.fixture
def nats() -> Iterator[str]:
    """A server of its own: what takes outcomes in stays on it, and leaves them to no other test."""
    with temporary_home() as home, start_nats(home) as server:
        yield server.url


@pytest.fixture
def server(database: str, nats: str, tmp_path: Path) -> Iterator[tuple[str, int, psutil.Process]]:
    """`roundtrip serve` on this database: its address and its process."""
    feed = {"format": "segment", "secret": {"env": "PRESSURE_KEY"}}
    declare(database, {"workspace": "pressure", "feeds": {"app": feed}})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
    environment = {
        **os.environ,
        "ROUNDTRIP_HOME": str(tmp_path / "home"),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": nats,
        "ROUNDTRIP_HTTP": f"{host}:{port}",
        "ROUNDTRIP_HTTP_PROCESSES": "1",
        "PRESSURE_KEY": KEY,
        "PYTHONPATH": str(REPOSITORY),
    }
    process = subprocess.Popen([sys.executable, "-m", "runtime.cli", "serve"], env=environment)
    try:
        wait_until(lambda: healthy(host, port), "the server to answer")
        yield host, port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


def healthy(host: str, port: int) -> bool:
    with suppress(httpx2.HTTPError):
        return httpx2.get(f"http://{host}:{port}/healthz", trust_env=False).status_code == 200
    return False


def request(number: int) -> bytes:
    calls = ",".join(
        f'{{"type":"track","event":"E","userId":"u-{number}","messageId":"{number}.{n}","properties":{{"p":"{PAD}"}}}}'
        for n in range(EVENTS)
    )
    body = f'{{"batch":[{calls}]}}'.encode()
    key = base64.b64encode(f"{KEY}:".encode()).decode()
    head = f"POST /v1/batch HTTP/1.1\r\nHost: pressure\r\nAuthorization: Basic {key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Load:
    """Requests over many connections; what each was answered, and how large the server grew."""

    def __init__(self, host: str, port: int, process: psutil.Process) -> None:
        self._place, self._process = (host, port), process
        self._numbers = iter(range(REQUESTS))
        self.answers: dict[int, int] = {}
        self.without_retry_after: list[int] = []
        self.largest = 0

    async def run(self, blocked: psycopg.Connection[Any]) -> None:
        """Sends everything; the lock on the log is let go once enough calls were turned away."""
        watching = asyncio.create_task(self._watch(blocked))
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))
        watching.cancel()

    async def _watch(self, blocked: psycopg.Connection[Any]) -> None:
        while True:
            self.largest = max(self.largest, self._process.memory_info().rss)
            if list(self.answers.values()).count(429) >= TURNED_AWAY and not blocked.closed:
                blocked.rollback()
                blocked.close()
            await asyncio.sleep(0.02)

    async def _connection(self) -> None:
        for number in self._numbers:
            try:
                reader, writer = await asyncio.open_connection(*self._place)
                writer.write(request(number))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
            except (OSError, EOFError):
                # Not answered is not acknowledged.
                continue
            status = int(head.split(b" ", 2)[1])
            [length] = [line for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(length.partition(b":")[2]))
            self.answers[number] = status
            if status != 200 and b"\r\nretry-after:" not in head:
                self.without_retry_after.append(number)
            writer.close()


def test_a_log_that_is_blocked_costs_no_memory_and_no_acknowledged_record(
    server: tuple[str, int, psutil.Process], database: str
) -> None:
    host, port, process = server
    load = Load(host, port, process)
    before = process.memory_info().rss
    with psycopg.connect(database.replace("+psycopg", "")) as blocked:
        blocked.execute("SELECT 1 FROM log_head FOR UPDATE")
        asyncio.run(asyncio.wait_for(load.run(blocked), 120))
    counts = Counter(load.answers.values())
    # A machine that is busy may make a request too slow to be waited for.
    assert set(counts) <= {200, 408, 429, 503}, counts
    assert counts[429] >= TURNED_AWAY
    assert counts[200] > 0
    assert sum(counts.values()) > REQUESTS * 0.8
    assert load.without_retry_after == []
    offered = REQUESTS * len(request(0))
    assert offered > 600 * MEGABYTE
    assert load.largest - before < 450 * MEGABYTE, f"grew by {(load.largest - before) // MEGABYTE} MB"
    found = message_ids(database)
    assert set(found.values()) == {1}
    acknowledged = {n for n, status in load.answers.items() if status == 200}
    assert {f"{n}.{i}" for n in acknowledged for i in range(EVENTS)} <= set(found)
    again = httpx2.post(
        f"http://{host}:{port}/v1/track",
        json={"event": "E", "userId": "u", "messageId": "after"},
        auth=(KEY, ""),
        trust_env=False,
    )
    assert again.status_code == 200


def test_where_the_store_fails_all_that_wait_are_told_at_once(
    server: tuple[str, int, psutil.Process], database: str
) -> None:
    host, port, _ = server

    async def calls() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=30) as http:
            waiting = [
                http.post(
                    "/v1/track", json={"event": "E", "userId": "u", "messageId": f"m-{n}"}, auth=(KEY, "")
                )
                for n in range(50)
            ]
            return await asyncio.gather(*waiting, asyncio.to_thread(end_the_append))

    def end_the_append() -> Any:
        with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
            query = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'roundtrip serve' AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: connection.execute(query).fetchone() != (0,), "the append to be ended")

    with psycopg.connect(database.replace("+psycopg", "")) as blocked:
        blocked.execute("SELECT 1 FROM log_head FOR UPDATE")
        answers = asyncio.run(asyncio.wait_for(calls(), 30))[:-1]
        turned_away = [answer for answer in answers if answer.status_code == 503]
        assert turned_away
        assert all(answer.headers["retry-after"] == "1" for answer in turned_away)
