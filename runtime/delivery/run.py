"""All connections of a workspace at once: each with a worker and connections of its own, so
that a slow destination slows nobody else down."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack

from adapters.bus.connection import connect
from adapters.connectors.configuration import ConfigurationError, resolve
from adapters.connectors.connector import Connector, ConnectorConfig, connector
from adapters.transports.transport import open_transport
from domain.workspace import Connection
from runtime.delivery.attempts import Destination
from runtime.delivery.consent import Consented
from runtime.delivery.worker import ACK_WAIT_S, Bus, DeliveryWorker


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
) -> None:
    """Delivers until `stop`, for all connections or `only` those.

    Raises `ConfigurationError` before anything is sent when a connection is not usable as it is declared,
    and `BusUnavailableError` when NATS cannot be reached.
    """
    usable = prepare(connections, environ, only)
    client = await connect(nats_url, name="roundtrip deliver")
    bus = Bus(client, client.jetstream(), replicas)
    try:
        async with AsyncExitStack() as pools, asyncio.TaskGroup() as workers:
            for name, (wire, config) in usable.items():
                transport = await pools.enter_async_context(open_transport(wire, config))
                worker = DeliveryWorker(
                    name, Destination(wire, config, transport, consented), bus, ack_wait_s
                )
                workers.create_task(worker.run(stop), name=f"deliver {name}")
    finally:
        await client.close()


def prepare(
    connections: Mapping[str, Connection], environ: Mapping[str, str], only: Collection[str] = ()
) -> dict[str, tuple[Connector, ConnectorConfig]]:
    """The connections with their connectors and settings, checked. Raises `ConfigurationError`, which names
    what is wrong with any of them."""
    wrong = [
        f"connection '{name}' is not declared; declared are: {', '.join(sorted(connections)) or 'none'}"
        for name in only
        if name not in connections
    ]
    usable: dict[str, tuple[Connector, ConnectorConfig]] = {}
    for name, definition in connections.items():
        if only and name not in only:
            continue
        try:
            wire = connector(definition.connector)
            config = resolve(name, definition, environ)
            wire.check(config)
            usable[name] = (wire, config)
        except LookupError as error:
            wrong.append(f"connection '{name}': {error}")
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    return usable
