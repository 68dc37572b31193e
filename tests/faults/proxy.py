"""A TCP proxy of our own between two parts. While its process is stopped, what either says is swallowed: connections
are neither refused nor closed, and nobody answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from benchmarks.platform import free_port
from tests.servers import REPOSITORY, wait_until


class Proxy:
    """What listens on `port` of the loopback, and hands on."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self._process = process

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Nothing comes through as long as the block lasts."""
        self._process.suspend()
        try:
            yield
        finally:
            self._process.resume()


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """A proxy to a port of the loopback, or to the socket of this path."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.proxy", str(port), target], cwd=REPOSITORY
    )
    try:
        proxy = Proxy(port, psutil.Process(process.pid))
        wait_until(lambda: asyncio.run(_accepts(port)), "the proxy to listen")
        yield proxy
    finally:
        process.kill()
        process.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _serve(port: int, target: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if target.isdigit():
                beyond, forth = await asyncio.open_connection("127.0.0.1", int(target))
            else:
                beyond, forth = await asyncio.open_unix_connection(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_hand_on(reader, forth), _hand_on(beyond, writer))

    async with await asyncio.start_server(handle, "127.0.0.1", port) as server:
        await server.serve_forever()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while said := await reader.read(65_536):
            writer.write(said)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
