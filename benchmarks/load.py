"""The load: bodies of `/v1/batch` made beforehand, posted from a process of its own.

`python -m benchmarks.load URL KEY EVENTS CONNECTIONS` waits for a line on standard input, posts everything,
and prints how long it took and the processor time it cost, in seconds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

EVENTS_A_BODY: Final = 100
#: What app users do: a few sessions each, and in a session one thing after the other.
_EVENTS_A_USER: Final = 20
_EVENTS_A_SESSION: Final = 5
_NAMES: Final = ("App Installed", "Product Viewed", "Product Viewed", "Screen Opened", "Order Completed")


def calls(events: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Calls of about 400 bytes: each user's first one identifies, the others are events. Sessions of
    different users come in turn, so a user's next session is far from the last."""
    chance = random.Random(seed)
    users = max(events // _EVENTS_A_USER, 1)
    begin = datetime.now(UTC) - timedelta(hours=1)
    for number in range(events):
        session, of_session = divmod(number, _EVENTS_A_SESSION)
        user = session % users
        at = (begin + timedelta(microseconds=number)).isoformat().replace("+00:00", "Z")
        call: dict[str, Any] = {
            "messageId": f"load-{seed}-{number}",
            "userId": f"user-{user}",
            "anonymousId": f"device-{user}",
            "timestamp": at,
            "context": {"library": {"name": "load", "version": "1.0"}, "app": {"version": "3.2.1"}},
        }
        if session < users and of_session == 0:
            call["type"] = "identify"
            call["traits"] = {"email": f"user-{user}@example.com", "plan": chance.choice(("free", "pro"))}
            call["context"]["consent"] = {"categoryPreferences": {"push": True, "advertising": True}}
        else:
            call["type"] = "track"
            call["event"] = chance.choice(_NAMES)
            call["properties"] = {
                "product_id": f"sku-{chance.randrange(1000)}",
                "total": chance.randrange(1, 100),
                "currency": "EUR",
                "category": "garden furniture and outdoor",
            }
        yield call


def bodies(events: int, seed: int = 1) -> list[bytes]:
    every = list(calls(events, seed))
    return [
        json.dumps({"batch": every[i : i + EVENTS_A_BODY]}).encode() for i in range(0, events, EVENTS_A_BODY)
    ]


async def post_all(url: str, key: str, waiting: list[bytes], connections: int) -> None:
    """Posts every body once; each connection sends the next as soon as the last is answered."""
    place = urlsplit(url)
    head = (
        f"POST /v1/batch HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
        f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}\r\nContent-Length: "
    ).encode()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while waiting:
            body = waiting.pop()
            writer.write(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            status = answer.split(b" ", 2)[1]
            length = next(
                int(line[15:])
                for line in answer.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            said = await reader.readexactly(length)
            if status != b"200":
                raise SystemExit(f"{status.decode()}: {said.decode()[:500]}")
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))


def main() -> None:
    url, key, events, connections = sys.argv[1:]
    waiting = bodies(int(events))
    print("ready", flush=True)
    sys.stdin.readline()
    began, spent = time.perf_counter(), time.process_time()
    asyncio.run(post_all(url, key, waiting, int(connections)))
    print(time.perf_counter() - began, time.process_time() - spent, flush=True)


if __name__ == "__main__":
    main()
