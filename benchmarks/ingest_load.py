"""The load on the HTTP API, from a process of its own: `python -m benchmarks.ingest_load URL KEY RUN`.

Waits for a line on standard input, sends everything, and prints what it measured as JSON. With a rate, each
request is due at its own time, and its latency counts from then, so that a server that stalls is not flattered by
a load that waits for it.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import sys
import time
from typing import Final, Literal, NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.load import bodies, calls

_HEAD_END: Final = b"\r\n\r\n"


class Run(NamedTuple):
    """`events` in batches of 100 (plain or gzip) or one a request; `rate` is requests a second, 0 for as many as
    there can be."""

    kind: Literal["batch", "gzip", "track"]
    events: int
    connections: int
    seed: int
    rate: float = 0.0


class _Client(asyncio.Protocol):
    """One kept connection that sends the next request when the last is answered."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.held = b""
        self.answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.held += data
        head, found, rest = self.held.partition(_HEAD_END)
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if len(rest) < length:
            return
        self.held = b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{head[:40]!r}: {rest[:500]!r}")
        assert self.answered is not None
        self.answered.set_result(None)

    async def send(self, request: bytes) -> None:
        assert self.transport is not None
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self.answered


def requests(run: Run, host: str, key: str) -> list[bytes]:
    """Every request, made beforehand."""
    if run.kind == "track":
        made = [json.dumps(call).encode() for call in calls(run.events, run.seed)]
        paths = ["identify" if b'"type": "identify"' in body else "track" for body in made]
    else:
        made = bodies(run.events, run.seed)
        paths = ["batch"] * len(made)
    encoding = ""
    if run.kind == "gzip":
        made = [gzip.compress(body, 6) for body in made]
        encoding = "Content-Encoding: gzip\r\n"
    authorization = base64.b64encode(f"{key}:".encode()).decode()
    return [
        f"POST /v1/{path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{encoding}"
        f"Authorization: Basic {authorization}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
        for path, body in zip(paths, made, strict=True)
    ]


async def send_all(run: Run, url: str, waiting: list[bytes]) -> list[float]:
    """Sends every request once; how long each took, in seconds."""
    place = urlsplit(url)
    host, port = place.hostname or "", place.port or 80
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(_Client, host, port))[1] for _ in range(run.connections)]
    waiting.reverse()
    took: list[float] = []
    began = time.perf_counter()
    sent = 0

    async def one(client: _Client) -> None:
        nonlocal sent
        while waiting:
            request = waiting.pop()
            due = time.perf_counter()
            if run.rate:
                due = began + sent / run.rate
                sent += 1
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            await client.send(request)
            took.append(time.perf_counter() - due)

    await asyncio.gather(*(one(client) for client in clients))
    return took


def main() -> None:
    url, key, said = sys.argv[1:]
    run = Run(**json.loads(said))
    waiting = requests(run, urlsplit(url).netloc, key)
    print("ready", flush=True)
    sys.stdin.readline()
    began, spent = time.perf_counter(), time.process_time()
    took = sorted(uvloop.run(send_all(run, url, waiting)))
    elapsed, processor = time.perf_counter() - began, time.process_time() - spent
    found = {
        "rate": run.events / elapsed,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
        "processor_s": processor,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
