"""`roundtrip deliver`: the workers of the declared connections; a workspace that changes gets new ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from sqlalchemy import Engine

from adapters.connectors.configuration import ConfigurationError
from adapters.database import STORE_ERRORS, kind_of
from adapters.log.read import Head, read_head
from adapters.projections.definitions import load_workspace
from adapters.projections.outbound import having_outcome
from domain.outbound import Outbound
from domain.workspace import Connection
from runtime.backlog import around
from runtime.delivery.coalescing import Around
from runtime.delivery.errors import ConsentUnknownError
from runtime.delivery.quiet import wall
from runtime.delivery.run import run_deliver
from runtime.signals import stop_on_signals
from runtime.status import who_consents

#: How long a changed definition may take to hold in delivery, in seconds.
REFRESH_S: Final = 1.0

log = structlog.get_logger("deliver")


async def deliver_until_stopped(
    engine: Engine, nats_url: str, only: Collection[str] = (), replicas: int = 1
) -> None:
    """Delivers until a signal. Connections that cannot be used are named, and looked at again when they
    are declared anew."""
    stop = stop_on_signals()
    by_the_wall = False

    async def consented(purpose: str, profiles: Sequence[str]) -> set[str]:
        with _asking():
            return await asyncio.to_thread(who_consents, engine, purpose, profiles)

    async def now() -> int:
        nonlocal by_the_wall
        if not by_the_wall:
            with _asking():
                head = await asyncio.to_thread(_head, engine)
            # A log that has records keeps its clock.
            by_the_wall = head.clock == "wall"
            if not by_the_wall:
                return head.recorded_at
        return await wall()

    async def look(name: str, records: Sequence[Outbound]) -> Mapping[str, Around]:
        with _asking():
            return await asyncio.to_thread(around, engine, name, records)

    async def closed(ids: Sequence[str]) -> Collection[str]:
        with _asking():
            return await asyncio.to_thread(_closed, engine, ids)

    while not stop.is_set():
        connections = _connections(engine)
        changed = asyncio.Event()
        watch = asyncio.create_task(_watch(engine, connections, changed, stop))
        try:
            if connections:
                await run_deliver(
                    nats_url,
                    connections,
                    consented,
                    changed,
                    environ=os.environ,
                    only=only,
                    replicas=replicas,
                    now=now,
                    look=look,
                    closed=closed,
                )
        except ConfigurationError as error:
            log.error("connections cannot be used", reason=str(error))
        await watch


async def _watch(
    engine: Engine, known: Mapping[str, Connection], changed: asyncio.Event, stop: asyncio.Event
) -> None:
    """Sets `changed` once the connections are others than `known`, or at the end."""
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), REFRESH_S)
        try:
            if await asyncio.to_thread(_connections, engine) != known:
                break
        except STORE_ERRORS as error:
            log.warning("the store does not answer", error=kind_of(error))
    changed.set()


@contextmanager
def _asking() -> Iterator[None]:
    """A question to the store. Raises `ConsentUnknownError` where it does not answer: the batch waits."""
    try:
        yield
    except STORE_ERRORS as error:
        raise ConsentUnknownError(f"the store does not answer: {kind_of(error)}") from error


def _head(engine: Engine) -> Head:
    with engine.connect() as connection:
        return read_head(connection)


def _closed(engine: Engine, ids: Sequence[str]) -> set[str]:
    with engine.connect() as connection:
        return having_outcome(connection, ids)


def _connections(engine: Engine) -> dict[str, Connection]:
    with engine.connect() as connection:
        workspace = load_workspace(connection)
    return dict(workspace.connections) if workspace is not None else {}
