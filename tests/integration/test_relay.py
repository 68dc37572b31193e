"""The relay beside a log that never rests, and a work queue in which something waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from nats.js import JetStreamContext
from sqlalchemy import Engine, text

from adapters.bus.connection import connect
from adapters.bus.streams import IN, OUT, ensure_streams
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from runtime import relay
from runtime.embedded.nats import start_nats
from tests.integration.tampering import fill, tampering
from tests.servers import temporary_home


def test_a_work_queue_is_emptied_of_who_was_erased_though_rows_come_all_the_time_and_another_is_never_empty(
    engine: Engine, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 50)
    with tampering(database) as connection:
        connection.execute(text("UPDATE log_head SET erasures = 1"))
    monkeypatch.setattr(relay, "BATCH_ROWS", 10)
    monkeypatch.setattr(relay, "IDLE_WAIT_S", 0)
    clear = relay._clear
    stop = asyncio.Event()
    #: Where the relay stood, and which work queues had been emptied by then.
    seen: list[tuple[int, set[str]]] = []

    async def watched(engine: Engine, js: JetStreamContext) -> None:
        await clear(engine, js)
        with engine.connect() as connection:
            at = read_checkpoint(connection, relay.CHECKPOINT)
            done = {name for name, one in relay.CLEARED.items() if read_checkpoint(connection, one) == 1}
            seen.append((at, done))
            if at == read_head(connection).position:
                stop.set()

    async def run(js: JetStreamContext) -> None:
        await ensure_streams(js)
        await js.publish("roundtrip.out.away", b"[]", stream=OUT)
        await relay.run_relay(engine, js, stop)

    monkeypatch.setattr(relay, "_clear", watched)
    on_a_bus_of_its_own(run)
    assert seen[0][0] < 50
    assert [done for _, done in seen] == [{IN}] * len(seen)


def on_a_bus_of_its_own(work: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    async def run(url: str) -> None:
        bus = await connect(url)
        try:
            await asyncio.wait_for(work(bus.jetstream()), 60)
        finally:
            await bus.close()

    with temporary_home() as home, start_nats(home) as server:
        asyncio.run(run(server.url))
