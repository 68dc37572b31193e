"""The heads of the hash chain are published as they come, in the form that a witness file has."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import Engine

from adapters.bus.connection import connect
from adapters.database import open_database
from adapters.log.chain import read_chain_head
from adapters.log.witness import read_witness
from runtime.relay import HEAD_SUBJECT, run_relay
from runtime.verify import verify_log
from tests.integration.tampering import fill
from tests.keys import KEYS


async def heard(engine: Engine, nats_url: str, position: int) -> list[bytes]:
    """What a subscriber hears of heads until the one at this position."""
    bus = await connect(nats_url, "test heads")
    lines: list[bytes] = []
    stop = asyncio.Event()
    subscription = await bus.subscribe(HEAD_SUBJECT)
    relay = asyncio.create_task(run_relay(engine, bus.jetstream(), stop))
    try:
        while True:
            message = await subscription.next_msg(timeout=20)
            assert message.headers is not None
            assert message.headers["ce-type"] == "roundtrip.chain.head"
            lines.append(message.data)
            if message.headers["ce-id"] == f"chain:{position}":
                return lines
    finally:
        stop.set()
        await relay
        await bus.close()


def test_what_a_subscriber_writes_down_is_a_witness(database: str, nats_url: str, tmp_path: Path) -> None:
    engine = open_database(database, application="test", keys=KEYS)
    try:
        fill(engine, 3, 1, 1_500, 2)
        lines = asyncio.run(heard(engine, nats_url, 1_506))
        file = tmp_path / "heads.ndjson"
        file.write_bytes(b"\n".join(lines) + b"\n")
        witnessed = list(read_witness(file))
        with engine.begin() as connection:
            assert witnessed[-1] == read_chain_head(connection)
        assert verify_log(database, lambda done, of: None, witnessed=witnessed).fault is None
    finally:
        engine.dispose()
