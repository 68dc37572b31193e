"""An open stream as its lines, in batches: what is there is taken together, and nobody waits long for company."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

#: A line longer than this is cut, as no event is; its rest is passed over.
LINE_LIMIT: Final = 1024 * 1024
BATCH: Final = 500
LINGER_S: Final = 0.2


async def split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream that comes in pieces; what follows the last line's end is no line yet."""
    held = bytearray()
    cut = False
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if not cut:
                yield bytes(held + part)[:LINE_LIMIT]
            held.clear()
            cut = False
        if not cut:
            held += rest
        if len(held) > LINE_LIMIT:
            yield bytes(held[:LINE_LIMIT])
            held.clear()
            cut = True


async def batches(lines: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Lists of lines until the stream ends, or raises what ended it."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(BATCH)

    async def read() -> None:
        try:
            async for line in lines:
                await queue.put(line)
        finally:
            # Where there is no room the reader has been cancelled, and nobody waits.
            with suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        ended = False
        while not ended:
            batch: list[bytes] = []
            line = await queue.get() if not reader.done() or not queue.empty() else None
            deadline = asyncio.get_running_loop().time() + LINGER_S
            while line is not None:
                batch.append(line)
                if len(batch) == BATCH:
                    break
                try:
                    line = await asyncio.wait_for(
                        queue.get(), max(deadline - asyncio.get_running_loop().time(), 0)
                    )
                except TimeoutError:
                    break
            else:
                ended = True
            if batch:
                yield batch
        await reader
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await reader
