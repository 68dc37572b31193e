"""All connections of a workspace at once: each with a worker and connections of its own, so
that a slow destination slows nobody else down."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog

from adapters.bus.connection import connect
from adapters.connectors.configuration import ConfigurationError, resolve
from adapters.connectors.connector import Connector, ConnectorConfig, connector
from adapters.http.guard import ForbiddenAddressError
from adapters.sandbox.limits import can_shut_in
from adapters.transports.addresses import check_addresses
from adapters.transports.transport import open_transport
from domain.workspace import Connection
from runtime.delivery.attempts import Destination
from runtime.delivery.coalescing import Look
from runtime.delivery.consent import Consented
from runtime.delivery.gate import Gate
from runtime.delivery.quiet import Now, wall
from runtime.delivery.transforming import open_transforming
from runtime.delivery.worker import ACK_WAIT_S, Bus, Closed, DeliveryWorker

#: How long a worker that failed waits before it goes on, in seconds.
AGAIN_S: Final = 1.0

log = structlog.get_logger("deliver")


async def run_deliver(
    nats_url: str,
    connections: Mapping[str, Connection],
    consented: Consented,
    stop: asyncio.Event,
    *,
    environ: Mapping[str, str],
    only: Collection[str] = (),
    replicas: int = 1,
    ack_wait_s: float = ACK_WAIT_S,
    now: Now = wall,
    look: Look | None = None,
    closed: Closed | None = None,
) -> None:
    """Delivers until `stop`, for all connections or `only` those that can be used. With a `look`, what was overtaken
    while it waited is not sent; with `closed`, what has an outcome is not sent again.

    One that cannot be used as it is declared is named in the log and costs the others nothing. Raises
    `ConfigurationError` where `only` names one that is not declared, and `BusUnavailableError` when NATS cannot be
    reached.
    """
    usable, unusable = prepare(connections, environ, only)
    for name, reason in unusable.items():
        log.error("connection cannot be used", connection=name, reason=reason)
    client = await connect(nats_url, name="roundtrip deliver")
    bus = Bus(client, client.jetstream(), replicas)
    try:
        async with AsyncExitStack() as pools, asyncio.TaskGroup() as workers:
            for name, (wire, config) in usable.items():
                declared = connections[name]
                transport = await pools.enter_async_context(
                    open_transport(wire, config, declared.concurrency, declared.allow_private)
                )
                gate = Gate(name, declared.rate, declared.concurrency)
                give_up_s = declared.give_up_after / 1_000_000
                transform = await pools.enter_async_context(open_transforming(name, declared.transform))
                to = Destination(wire, config, transport, consented, gate, give_up_s, now, transform)
                worker = DeliveryWorker(name, to, bus, ack_wait_s, look, closed)
                workers.create_task(_kept(name, worker, stop), name=f"deliver {name}")
            await stop.wait()
    finally:
        await client.close()


async def _kept(name: str, worker: DeliveryWorker, stop: asyncio.Event) -> None:
    """Runs a worker again that ended by a fault of its own, so that it takes no other down with it."""
    while not stop.is_set():
        try:
            await worker.run(stop)
        except Exception as error:  # noqa: BLE001
            # The message may hold a record's values; the kind is all that is told.
            log.error("delivery worker failed", connection=name, error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_S)


def prepare(
    connections: Mapping[str, Connection], environ: Mapping[str, str], only: Collection[str] = ()
) -> tuple[dict[str, tuple[Connector, ConnectorConfig]], dict[str, str]]:
    """The connections that can be used, with their connectors and settings, and what is wrong with the others.

    Raises `ConfigurationError` where `only` names one that is not declared.
    """
    unknown = sorted(set(only) - set(connections))
    if unknown:
        raise ConfigurationError(
            f"connection '{unknown[0]}' is not declared; declared are: {', '.join(sorted(connections)) or 'none'}"
        )
    usable: dict[str, tuple[Connector, ConnectorConfig]] = {}
    unusable: dict[str, str] = {}
    for name, definition in connections.items():
        if only and name not in only:
            continue
        try:
            usable[name] = ready(name, definition, environ)
        except (LookupError, ValueError) as error:
            unusable[name] = str(error)
    return usable, unusable


def ready(name: str, definition: Connection, environ: Mapping[str, str]) -> tuple[Connector, ConnectorConfig]:
    """A connection's connector and settings, checked. Raises `LookupError` or `ValueError` naming what is wrong."""
    wire = connector(definition.connector)
    config = resolve(name, definition, environ)
    wire.check(config)
    if definition.transform is not None and definition.transform.python is not None and not can_shut_in():
        raise ValueError(
            f"connection '{name}': transform: a Python file is shut in by Linux on x86_64 or aarch64, and not run"
            " elsewhere; write it as a 'cel' expression"
        )
    try:
        check_addresses(wire.transport, config, definition.allow_private)
    except ForbiddenAddressError as error:
        raise ValueError(f"connection '{name}': {error}") from error
    return wire, config
