"""A destination that was down while an audience changed is told what holds, by as few changes as that takes."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.js.errors import NotFoundError
from sqlalchemy import Engine

from adapters.bus.publish import publish_batch
from adapters.bus.streams import OUT
from adapters.log.append import append
from adapters.log.read import read_rows
from domain.outbound import Outcome
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.backlog import around
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.delivery.run import run_deliver
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.relay import _outbound_messages
from tests.integration.delivering import Bench, bench, everybody
from tests.integration.simulating import running
from tests.keys import KEYS, said

AUDIENCE = "23842000000000001"


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def _workspace(name: str, port: int) -> Workspace:
    ads = {
        "connector": "meta_custom_audience",
        "audience": "pros",
        "fields": {"email": "attribute.email"},
        "settings": {"audience_id": AUDIENCE, "base_url": f"http://127.0.0.1:{port}"},
        "secrets": {"access_token": {"env": "ADS_TOKEN"}},
        "allow_private": True,
    }
    return Workspace.model_validate(
        {
            "workspace": "test",
            "feeds": {"app": {"format": "files"}},
            "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
            "connections": {name: ads},
        }
    )


class Shop:
    def __init__(self, engine: Engine, definitions: Definitions) -> None:
        self.engine = engine
        self._definitions = definitions
        self._said = 0

    def say(self, plan: str, *people: int) -> None:
        entries = []
        for n in people:
            self._said += 1
            record = Record(
                feed="app",
                message_id=f"m-{self._said}",
                type="identify",
                name="",
                occurred_at=self._said,
                identifiers=(Identifier("user_id", f"u-{n}"),),
                body=msgspec.Raw(msgspec.json.encode({"plan": plan, "email": f"u-{n}@example.com"})),
                traits_at="",
                traits={"plan": plan, "email": f"u-{n}@example.com"},
            )
            entries.append(entry_of(record))
        with self.engine.begin() as connection:
            append(connection, entries)
        self.drain()

    def drain(self) -> None:
        drain(Pipeline(self.engine, self._definitions), 2**62)

    def close(self, outcomes: list[Outcome]) -> None:
        with self.engine.begin() as connection:
            append(connection, entries_of(outcomes))
        self.drain()


@pytest.fixture
def definitions(database: str) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        yield definitions


def test_after_an_outage_a_destination_is_told_what_holds_and_nothing_that_was_overtaken(
    database: str, engine: Engine, definitions: Definitions, nats_url: str, tmp_path: Path
) -> None:
    port, shop = _free_port(), Shop(engine, definitions)

    async def test(on: Bench) -> dict[str, Any]:
        name = on.connection
        apply_workspace(engine, definitions, _workspace(name, port))

        async def look(of: str, records: Any) -> Any:
            return await asyncio.to_thread(around, engine, of, records)

        shop.say("pro", *range(1, 11))
        requested = await _publish(on, engine, 0)
        stop = asyncio.Event()
        declared = _workspace(name, port).connections
        run = run_deliver(nats_url, declared, everybody, stop, environ={"ADS_TOKEN": "the-token"}, look=look)
        task = asyncio.create_task(run)
        async with asyncio.timeout(20):
            while not await _in_hand(on):
                await asyncio.sleep(0.05)
        for _ in range(5):
            shop.say("pro", *range(20, 40))
            shop.say("free", *range(20, 40), 1, 2)
            shop.say("pro", 1, 2)
        shop.say("free", 3)
        shop.say("pro", 20)
        requested += await _publish(on, engine, requested[-1])
        with running("ad_platform", tmp_path, "--token", "the-token", "--port", str(port)) as platform:
            outcomes = await on.outcomes(len(requested), 40)
            stop.set()
            await task
            shop.close(outcomes)
            return {**platform.get("status"), **platform.get(f"audiences/{AUDIENCE}")}

    async def run() -> dict[str, Any]:
        async with bench(nats_url) as on:
            return await test(on)

    seen = asyncio.run(run())
    held = {one["value"] for one in seen["members"] if one["member"]}
    wanted = {hashlib.sha256(f"u-{n}@example.com".encode()).hexdigest() for n in (1, 2, *range(4, 11), 20)}
    assert held == wanted
    assert {one["value"] for one in seen["members"]} - wanted == {
        hashlib.sha256(b"u-3@example.com").hexdigest()
    }, "of those who came and went meanwhile it never heard"
    # The ten that were on their way, two who came back, and one who stayed.
    assert (seen["adds_received"], seen["removes_received"], seen["needless_removes"]) == (13, 1, 0)
    closed = said(database, "outbound.suppressed", "outbound.delivered")
    requested = said(database, "outbound.requested")
    assert sorted(one["id"] for one in closed) == sorted(one["id"] for one in requested)
    assert len(requested) == 10 + 5 * (20 + 22 + 2) + 1 + 1
    overtaken = [one for one in closed if one.get("superseded_by")]
    assert {one["superseded_by"] for one in overtaken} <= {one["id"] for one in requested}
    task = Task(database, KEYS, tmp_path / "rebuild", jobs=1, range_rows=700)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    assert [one for one in found.tables if not one.equal] == []


async def _publish(on: Bench, engine: Engine, after: int) -> list[int]:
    """Puts what was requested since onto the bus, as the relay does; where it stands in the log."""
    with engine.connect() as connection:
        rows = [row for row in read_rows(connection, after, 100_000) if row.topic == "outbound.requested"]
        await publish_batch(on.js, _outbound_messages(connection, rows))
    return [row.position for row in rows]


async def _in_hand(on: Bench) -> int:
    """Batches that a worker has and has not come to an end with."""
    try:
        return int((await on.js.consumer_info(OUT, on.connection)).num_ack_pending or 0)
    except NotFoundError:
        return 0
