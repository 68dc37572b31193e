"""The relay beside a log that never rests."""

from __future__ import annotations

import asyncio

import pytest
from nats.js import JetStreamContext
from sqlalchemy import Engine, text

from adapters.bus.connection import connect
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from runtime import relay
from runtime.embedded.nats import start_nats
from tests.integration.tampering import fill, tampering
from tests.servers import temporary_home


def test_work_queues_are_emptied_of_an_erased_person_though_rows_come_all_the_time(
    engine: Engine, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 50)
    with tampering(database) as connection:
        connection.execute(text("UPDATE log_head SET erasures = 1"))
    monkeypatch.setattr(relay, "BATCH_ROWS", 10)
    monkeypatch.setattr(relay, "IDLE_WAIT_S", 0)
    clear = relay._clear
    stop = asyncio.Event()
    cleared_at: list[int] = []

    async def seen(engine: Engine, js: JetStreamContext) -> None:
        await clear(engine, js)
        with engine.connect() as connection:
            if read_checkpoint(connection, relay.CLEARED) == 1:
                cleared_at.append(read_checkpoint(connection, relay.CHECKPOINT))
            if read_checkpoint(connection, relay.CHECKPOINT) == read_head(connection).position:
                stop.set()

    async def run(url: str) -> None:
        bus = await connect(url)
        try:
            await asyncio.wait_for(relay.run_relay(engine, bus.jetstream(), stop), 60)
        finally:
            await bus.close()

    monkeypatch.setattr(relay, "_clear", seen)
    with temporary_home() as home, start_nats(home) as server:
        asyncio.run(run(server.url))
    assert cleared_at[0] < 50
