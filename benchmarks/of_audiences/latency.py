"""How long it takes from a call to the NATS message that its caller has entered an audience: a whole Roundtrip, a
client that sends at a set rate whatever the answers, and a subscriber from outside."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import nats
import numpy as np
from nats.aio.msg import Msg

from benchmarks.of_audiences.declared import hundred
from benchmarks.platform import Platform, platform
from benchmarks.report import Figure
from domain.records import Identifier, node_id
from runtime.engines import running

P50_MS: Final = 30.0
P99_MS: Final = 150.0
#: Events a second, and in a call as an SDK batches them. One in each call makes somebody enter an audience.
RATE: Final = 1_000
_EACH: Final = 10
_KEY: Final = "benchmark-write-key"
_KNOWN: Final = 1_000
_ENTERS: Final = "App Opened"
_CONNECTIONS: Final = 64
#: Seconds that are not measured, and that a message is waited for.
_WARM_S: Final = 3
_PATIENCE_S: Final = 20.0


def latency_figures(home: Path, seconds: int) -> list[Figure]:
    """With a hundred audiences and the one that is watched."""
    place = home / "latency.yaml"
    audiences = hundred() | {"newcomers": {"match": {"event": _ENTERS}}}
    feeds = {"app": {"format": "segment", "secret": {"env": "ROUNDTRIP_APP_WRITE_KEY"}}}
    place.write_text(json.dumps({"workspace": "benchmark", "feeds": feeds, "audiences": audiences}))
    with platform(place, {"ROUNDTRIP_APP_WRITE_KEY": _KEY}) as ours:
        sent, answered, heard = asyncio.run(_measure(ours, seconds + _WARM_S))
    after = _WARM_S * RATE // _EACH
    late = [(heard[n] - sent[n]) * 1_000 for n in range(after, len(sent)) if n in heard]
    beyond = [max(heard[n] - answered[n], 0.0) * 1_000 for n in range(after, len(sent)) if n in heard]
    missing = len(sent) - len(heard)
    if missing:
        raise SystemExit(f"{missing} of {len(sent)} people were not heard of within {_PATIENCE_S:.0f} s")
    p50, p99 = np.percentile(late, [50, 99])
    p50_beyond, p99_beyond = np.percentile(beyond, [50, 99])
    return [
        Figure(
            f"{RATE:,} events/s: from the call's due time to the message, p50",
            p50,
            "ms",
            P50_MS,
            at_most=True,
        ),
        Figure("the same, p99", p99, "ms", P99_MS, at_most=True),
        Figure("from the answer to the message, p50", p50_beyond, "ms"),
        Figure("the same, p99", p99_beyond, "ms"),
    ]


async def _measure(ours: Platform, seconds: int) -> tuple[list[float], dict[int, float], dict[int, float]]:
    """When each call was due, when it was answered, and when its person was heard of."""
    engines = running(ours.home)
    assert engines is not None
    calls = seconds * RATE // _EACH
    numbers = {node_id(Identifier("user_id", f"new-{number}")): number for number in range(calls)}
    answered: dict[int, float] = {}
    heard: dict[int, float] = {}
    done = asyncio.Event()

    async def hear(message: Msg) -> None:
        number = numbers[msgspec.json.decode(message.data)["profile"]]
        heard.setdefault(number, time.perf_counter())
        if len(heard) == calls:
            done.set()

    client = await nats.connect(engines.nats_url)
    await client.subscribe("roundtrip.audience.newcomers.entered", cb=hear)
    await client.flush()
    waiting: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    posting = [asyncio.create_task(_post(ours.url, waiting, answered)) for _ in range(_CONNECTIONS)]
    began = time.perf_counter() + 0.5
    due = [began + number * _EACH / RATE for number in range(calls)]
    requests = [_body(number) for number in range(calls)]
    for number, at in enumerate(due):
        await asyncio.sleep(at - time.perf_counter())
        waiting.put_nowait((number, requests[number]))
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), _PATIENCE_S)
    for task in posting:
        task.cancel()
        if task.done() and not task.cancelled() and task.exception():
            await task
    await client.close()
    return due, answered, heard


async def _post(url: str, waiting: asyncio.Queue[tuple[int, bytes]], answered: dict[int, float]) -> None:
    """Posts what is due. Raises `SystemExit` where a call is refused."""
    place = urlsplit(url)
    head = (
        f"POST /v1/batch HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {base64.b64encode(f'{_KEY}:'.encode()).decode()}\r\nContent-Length: "
    ).encode()
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    while True:
        number, body = await waiting.get()
        writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next(int(line[15:]) for line in answer.split(b"\r\n") if line.startswith(b"content-length:"))
        said = await reader.readexactly(length)
        answered[number] = time.perf_counter()
        if answer.split(b" ", 2)[1] != b"200":
            raise SystemExit(f"a call was refused: {said.decode()[:500]}")


def _body(number: int) -> bytes:
    """A newcomer's first event, among those of people who are known after a while."""
    events = ("Product Viewed", "Cart Viewed", "Search Completed")
    batch: list[dict[str, Any]] = [
        {
            "type": "track",
            "messageId": f"latency-{number}-{place}",
            "userId": f"user-{(number * _EACH + place) % _KNOWN}" if place else f"new-{number}",
            "event": events[place % 3] if place else _ENTERS,
            "properties": {"total": place, "item": f"sku-{place}", "currency": "EUR"},
        }
        for place in range(_EACH)
    ]
    return json.dumps({"batch": batch}).encode()
