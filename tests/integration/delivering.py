"""What the delivery tests share: batches of one connection on the bus, and the outcomes that come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from nats.aio.client import Client
from nats.js import JetStreamContext

from adapters.bus.cloud_event import cloud_event
from adapters.bus.connection import connect
from adapters.bus.publish import Message, publish_batch
from adapters.bus.streams import IN, OUT, ensure_streams
from adapters.connectors.connector import Connector, ConnectorConfig
from adapters.connectors.onesignal import CONNECTOR
from adapters.http.client import HttpClient
from domain.outbound import Outbound, Outcome
from domain.retry import MAX_ELAPSED_S
from domain.transforming import Transform
from runtime.delivery.attempts import Destination as To
from runtime.delivery.consent import Consented
from runtime.delivery.gate import Gate
from runtime.delivery.transforming import open_transforming
from runtime.delivery.worker import Bus, DeliveryWorker
from tests.integration.destination import Answering, Destination, serving

APP = "8250eaf6-1a58-489e-b136-7c74a864b434"


class Bench:
    """One connection on a NATS server that others may use too."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=5)
        self.connection = f"push_{uuid4().hex[:12]}"

    def batch(self, size: int = 3, **changes: Any) -> list[Outbound]:
        batch = str(uuid4())
        return [
            Outbound(
                **{
                    "id": str(uuid4()),
                    "connection": self.connection,
                    "batch": batch,
                    "profile": f"profile-{n}",
                    "audience": "new_app_users",
                    "change": "add",
                    "fields": {"external_id": f"user-{n}"},
                    "cause": n + 1,
                    "purpose": "push",
                    **changes,
                }
            )
            for n in range(size)
        ]

    async def request(self, *batches: Sequence[Outbound]) -> None:
        await publish_batch(
            self.js, [self.message(msgspec.json.encode(batch), batch[0].batch) for batch in batches]
        )

    def message(self, payload: bytes, msg_id: str) -> Message:
        headers = cloud_event(id=msg_id, type="roundtrip.out", source="/test", msg_id=msg_id)
        return Message(f"roundtrip.out.{self.connection}", payload, headers)

    async def outcomes(self, count: int, seconds: float = 60.0) -> list[Outcome]:
        """Waits for so many outcomes, and fails on one that comes too much."""
        subject = f"roundtrip.outcome.{self.connection}"
        subscription = await self.js.pull_subscribe(subject, durable=self.connection, stream=IN)
        got: list[Outcome] = []
        while len(got) < count:
            [message] = await subscription.fetch(1, timeout=seconds)
            got += msgspec.json.decode(message.data, type=list[Outcome])
            await message.ack_sync()
        assert (await subscription.consumer_info()).num_pending == 0
        await subscription.unsubscribe()
        return got

    async def waiting(self) -> int:
        """Messages that are requested of this connection and not yet acknowledged."""
        subject = f"roundtrip.out.{self.connection}"
        info = await self.js.stream_info(OUT, subjects_filter=subject)
        return (info.state.subjects or {}).get(subject, 0)


@asynccontextmanager
async def bench(nats_url: str) -> AsyncIterator[Bench]:
    """A connection of its own, with nothing requested of it."""
    client = await connect(nats_url)
    try:
        made = Bench(client)
        await ensure_streams(made.js)
        yield made
    finally:
        await client.close()


async def everybody(purpose: str, profiles: Sequence[str]) -> set[str]:
    return set(profiles)


@asynccontextmanager
async def worker(
    on: Bench,
    destination: Destination,
    consented: Consented = everybody,
    *,
    connector: Connector = CONNECTOR,
    deadline_s: float = 5.0,
    ack_wait_s: float = 2.0,
    gate: Gate | None = None,
    give_up_s: float = MAX_ELAPSED_S,
    transform: Transform | None = None,
) -> AsyncIterator[DeliveryWorker]:
    settings = {"base_url": destination.url, "app_id": APP, "contents": {"en": "Hello"}}
    config = ConnectorConfig(on.connection, settings, {"api_key": "key"})
    stop = asyncio.Event()
    async with (
        HttpClient(deadline_s=deadline_s, concurrency=8, allow_private=True) as http,
        open_transforming(on.connection, transform) as transforming,
    ):
        held = gate or Gate(on.connection)
        to = To(connector, config, http, consented, held, give_up_s, transform=transforming)
        running = DeliveryWorker(on.connection, to, Bus(on.client, on.js), ack_wait_s)
        task = asyncio.create_task(running.run(stop))
        try:
            yield running
        finally:
            stop.set()
            await task


def delivering(
    nats_url: str, test: Callable[[Bench, Destination], Awaitable[None]], *script: Answering
) -> None:
    async def run() -> None:
        async with bench(nats_url) as on, serving(*script) as destination:
            await test(on, destination)

    asyncio.run(run())
