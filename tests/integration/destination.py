"""A destination that the delivery tests script: a real HTTP server that does next what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4


@dataclass
class Seen:
    """A request that arrived whole."""

    method: str
    target: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def key(self) -> str:
        return str(self.body["idempotency_key"])

    @property
    def people(self) -> list[str]:
        return list(self.body["include_aliases"]["external_id"])


Answering = Callable[["Destination", Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Destination:
    """A push tool. It takes effect once for each idempotency key, and answers the next of `script`, or as
    the vendor does when there is none."""

    port: int = 0
    script: list[Answering] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    effects: dict[str, list[str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take_effect(self, seen: Seen) -> str:
        self.effects.setdefault(seen.key, seen.people)
        return self.ids.setdefault(seen.key, str(uuid4()))

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.1)


async def as_the_vendor(destination: Destination, seen: Seen, writer: asyncio.StreamWriter) -> None:
    await write(writer, 200, {"id": destination.take_effect(seen), "external_id": None})


def refusing(status: int, **headers: str) -> Answering:
    async def answer(destination: Destination, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await write(writer, status, {"errors": ["scripted"]}, headers)

    return answer


def holding_back(seconds: int) -> Answering:
    """Takes effect, and says that the next request has to wait."""

    async def answer(destination: Destination, seen: Seen, writer: asyncio.StreamWriter) -> None:
        said = {"id": destination.take_effect(seen), "external_id": None}
        await write(writer, 200, said, {"ratelimit_remaining": "0", "ratelimit_reset": str(seconds)})

    return answer


async def dropping_after_effect(destination: Destination, seen: Seen, writer: asyncio.StreamWriter) -> None:
    destination.take_effect(seen)
    writer.transport.abort()


def held_until(released: asyncio.Event) -> Answering:
    async def answer(destination: Destination, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await as_the_vendor(destination, seen, writer)

    return answer


async def write(
    writer: asyncio.StreamWriter, status: int, body: object, headers: dict[str, str] | None = None
) -> None:
    raw = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(raw)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
    await writer.drain()


@asynccontextmanager
async def serving(*script: Answering) -> AsyncIterator[Destination]:
    """Runs a destination on a free port."""
    destination = Destination(script=list(script))
    open_writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                seen = await _read(reader)
                destination.seen.append(seen)
                answering = destination.script.pop(0) if destination.script else as_the_vendor
                destination.changed.set()
                await answering(destination, seen, writer)
        writer.close()
        open_writers.discard(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    destination.port = server.sockets[0].getsockname()[1]
    try:
        yield destination
    finally:
        server.close()
        for writer in list(open_writers):
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Seen:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
    return Seen(method, target, headers, body)
