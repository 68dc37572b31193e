"""`roundtrip serve`: the HTTP API, the intake from NATS and that of delivery outcomes, in front of one group commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence

import structlog
import uvicorn
import uvloop

from adapters.bus.connection import connect
from runtime.collector import spare_the_collector
from runtime.engines import Engines
from runtime.group_commit import GroupCommit
from runtime.http.app import create_app
from runtime.http.listening import listen
from runtime.http.protocol import Connection
from runtime.http.workers import watch, workers
from runtime.http_door import HttpDoor
from runtime.intake import Door, run_intake
from runtime.outcomes import run_outcomes
from runtime.settings import Settings
from runtime.signals import stop_on_signals

log = structlog.get_logger("serve")


def serve(settings: Settings, engines: Engines, http_only: bool = False) -> None:
    """Serves until a signal, with as many processes as the settings say. `http_only` is for the further ones."""
    listening = listen(settings.http_host, settings.http_port)
    with workers(listening, 0 if http_only else settings.http_processes - 1) as started:
        uvloop.run(run_serve(settings, engines, listening, started, http_only))


async def run_serve(
    settings: Settings,
    engines: Engines,
    listening: socket.socket,
    started: Sequence[subprocess.Popen[bytes]] = (),
    http_only: bool = False,
) -> None:
    """Serves until a signal; requests that have begun are answered first."""
    spare_the_collector()
    stop = stop_on_signals()
    engine = engines.open("serve")
    commit = GroupCommit(engine, lambda: door.workspace().rules)
    door = HttpDoor(engine, commit, os.environ, settings.lake, engines.database_url)
    ports = door.ports(settings.api_token, settings.public_url)
    server = _Server(
        uvicorn.Config(
            create_app(ports),
            loop="uvloop",
            http=Connection,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
    )
    tasks = [
        asyncio.create_task(commit.run(), name="append"),
        asyncio.create_task(door.keep_up(), name="refresh"),
        asyncio.create_task(server.serve([listening]), name="http"),
        asyncio.create_task(watch(started), name="workers"),
    ]
    bus = None if http_only else await connect(engines.nats_url, "roundtrip serve")
    if bus is not None:
        js, replicas = bus.jetstream(), settings.nats_replicas
        intake = Door(commit.append, door.workspace, door.refresh, door.put_aside, ports.now)
        tasks += [
            asyncio.create_task(run_outcomes(js, commit.append, engine, stop, replicas), name="outcomes"),
            asyncio.create_task(run_intake(js, intake, stop, replicas), name="intake"),
        ]
    try:
        done, _ = await asyncio.wait(
            [*tasks, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        stop.set()
        for one in started:
            one.terminate()
        await asyncio.wait([task for task in tasks if task.get_name() in ("http", "outcomes", "intake")])
        for task in tasks:
            task.cancel()
        if bus is not None:
            await bus.close()
        engine.dispose()


class _Server(uvicorn.Server):
    """Leaves the signals to this process, which has more to end than the server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
