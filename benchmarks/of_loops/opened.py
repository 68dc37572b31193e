"""An offered load that waits for nobody: each call is due at its moment, whether those before it are answered or not.

`python -m benchmarks.of_loops.opened URL KEY CALLS RATE OUT` posts the calls of a file (one JSON object a line, of
Segment's `track`) one by one at so many a second, and writes to `OUT` when each was due and when it was answered, in
seconds since the epoch. A call for which no connection is free leaves late, and its moment stays the one it was due at.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import uvloop

#: So many calls may be on their way at once: those of a second. With fewer, calls would wait for one another here.
CONNECTIONS: Final = 1_000


class _Load:
    def __init__(self, url: str, key: str) -> None:
        place = urlsplit(url)
        self._place = (place.hostname, place.port)
        credentials = base64.b64encode(f"{key}:".encode()).decode()
        self._head = (
            f"POST /v1/track HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
            f"Authorization: Basic {credentials}\r\nContent-Length: "
        ).encode()
        self._waiting: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.answered: dict[int, float] = {}

    async def run(self, calls: list[bytes], rate: float) -> list[float]:
        """Posts them all; when each was due."""
        lines = [asyncio.create_task(self._line()) for _ in range(CONNECTIONS)]
        await asyncio.sleep(0.5)
        began, due = time.time(), []
        for number, call in enumerate(calls):
            due.append(began + number / rate)
            if (early := due[-1] - time.time()) > 0:
                await asyncio.sleep(early)
            self._waiting.put_nowait((number, call))
        while len(self.answered) < len(calls):
            for line in lines:
                if line.done():
                    line.result()
            await asyncio.sleep(0.05)
        for line in lines:
            line.cancel()
        return due

    async def _line(self) -> None:
        """One connection, which takes the next call as soon as its last one is answered."""
        reader, writer = await asyncio.open_connection(*self._place)
        while True:
            number, call = await self._waiting.get()
            writer.write(self._head + str(len(call)).encode() + b"\r\n\r\n" + call)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            said = await reader.readexactly(int(length))
            if head.split(b" ", 2)[1] != b"200":
                raise SystemExit(f"{head.decode()}{said.decode()[:500]}")
            self.answered[number] = time.time()


def main() -> None:
    url, key, file, rate, out = sys.argv[1:]
    calls = Path(file).read_bytes().splitlines()
    load = _Load(url, key)
    due = uvloop.run(load.run(calls, float(rate)))
    Path(out).write_text(json.dumps([[at, load.answered[number]] for number, at in enumerate(due)]))


if __name__ == "__main__":
    main()
