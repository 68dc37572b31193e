"""Further processes that answer HTTP on the same port: reading calls and appending them is work for more than one
processor, and Python keeps one busy.

They end with the process that starts them. When one ends by itself the whole `serve` ends, and its supervisor
starts it anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from runtime.embedded.child import start_child

#: Seconds between two looks at whether they still run.
LOOK_S: Final = 0.5
#: Seconds that they have to end in.
GRACE_S: Final = 8.0


class WorkerEndedError(Exception):
    """A process that answers HTTP has ended by itself."""


@contextmanager
def workers(listening: socket.socket, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes more, on the port of this socket. From the main thread only."""
    host, port = listening.getsockname()[:2]
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    environment = {**os.environ, "ROUNDTRIP_HTTP": place}
    command = [sys.executable, "-m", "runtime.cli", "serve", "--http-only"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(
                start_child(
                    command,
                    death_signal=signal.SIGKILL,
                    log=sys.stderr.fileno(),
                    cwd=Path.cwd(),
                    env=environment,
                )
            )
        yield started
    finally:
        for one in started:
            one.terminate()
        for one in started:
            try:
                one.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


async def watch(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Raises `WorkerEndedError` as soon as one has ended; else for ever."""
    while True:
        for one in started:
            if (code := one.poll()) is not None:
                raise WorkerEndedError(f"a process that answers HTTP ended with exit code {code}")
        await asyncio.sleep(LOOK_S)
