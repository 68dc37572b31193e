"""Records handed in on `roundtrip.in.<feed>`: once, durable, and poison put aside with its reason."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from nats.js.api import PubAck

from adapters.bus.connection import connect
from adapters.bus.streams import IN, ensure_streams
from adapters.quarantine import Quarantined, put_asides
from domain.records import Record
from feeds.feed import Payload
from runtime.embedded.nats import start_nats
from runtime.engines import Engines, running
from runtime.intake import DELIVERIES, Door, run_intake
from runtime.ports import WorkspaceView
from tests.integration.conftest import Roundtrip
from tests.keys import opened
from tests.servers import REPOSITORY, temporary_home, wait_until

SAMPLE = REPOSITORY / "examples" / "nats_feed.py"


def engines_of(roundtrip: Roundtrip) -> Engines:
    engines = running(roundtrip.ours.home)
    assert engines is not None
    return engines


def publish(roundtrip: Roundtrip, feed: str, *bodies: bytes) -> None:
    async def run() -> None:
        client = await connect(engines_of(roundtrip).nats_url)
        for body in bodies:
            ack = await client.jetstream().publish(f"roundtrip.in.{feed}", body)
            assert isinstance(ack, PubAck)
        await client.close()

    asyncio.run(run())


def waiting(roundtrip: Roundtrip) -> int:
    async def run() -> int:
        client = await connect(engines_of(roundtrip).nats_url)
        found = await client.jetstream().consumer_info(IN, "feeds")
        await client.close()
        return int(found.num_pending or 0) + int(found.num_ack_pending or 0)

    return asyncio.run(run())


def put_aside(roundtrip: Roundtrip, part: str) -> list[tuple[Any, ...]]:
    with opened(engines_of(roundtrip).database_url) as connection:
        return [item[:4] for item in put_asides(connection) if part.encode() in item.body]


def call(message_id: str, **changes: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Seen", "userId": "by-nats", "messageId": message_id} | changes


def test_the_sample_consumer_of_the_docs_hands_in_once(roundtrip: Roundtrip) -> None:
    source = SAMPLE.read_text()
    assert len(source.splitlines()) < 40
    assert source in (REPOSITORY / "docs" / "how-to" / "hand-records-in-by-nats.md").read_text()
    ids = [str(uuid.uuid4()) for _ in range(3)]
    lines = [{"id": i, "user": "opener", "at": "2026-11-24T10:00:00Z", "push": "n-1"} for i in ids]
    for _ in range(2):
        subprocess.run(
            [sys.executable, str(SAMPLE), engines_of(roundtrip).nats_url, "app"],
            input="\n".join(json.dumps(line) for line in lines),
            text=True,
            check=True,
            timeout=30,
        )
    wait_until(lambda: not waiting(roundtrip), "the messages to be acknowledged")
    for message_id in ids:
        [record] = roundtrip.rows(message_id)
        assert record["name"] == "Push Opened"
        assert record["feed"] == "app"


@pytest.mark.parametrize("shape", ["one call", "list", "batch"])
def test_a_message_holds_one_call_or_many(roundtrip: Roundtrip, shape: str) -> None:
    ids = [str(uuid.uuid4())] if shape == "one call" else [str(uuid.uuid4()) for _ in range(3)]
    calls = [call(i) for i in ids]
    body = {"one call": calls[0], "list": calls, "batch": {"batch": calls}}[shape]
    publish(roundtrip, "app", json.dumps(body).encode())
    wait_until(lambda: all(len(roundtrip.rows(one)) == 1 for one in ids), "the records")


def test_a_vendors_format_is_taken_without_its_secret(roundtrip: Roundtrip) -> None:
    event_id = str(uuid.uuid4())
    event = {"kind": "message.push.clicked", "id": event_id, "timestamp": 1_700_000_000, "external_id": "u"}
    publish(roundtrip, "engagement", json.dumps({"event": event}).encode())
    wait_until(lambda: roundtrip.rows(event_id), "the record")
    assert roundtrip.rows(event_id)[0]["name"] == "Push Opened"


def test_poison_is_put_aside_with_its_reason_and_what_follows_does_not_wait(roundtrip: Roundtrip) -> None:
    poison, good = str(uuid.uuid4()), str(uuid.uuid4())
    publish(
        roundtrip,
        "app",
        json.dumps(call(poison, type="dance")).encode(),
        b"{" + poison.encode(),
        json.dumps(call(good)).encode(),
    )
    wait_until(lambda: roundtrip.rows(good), "the good one")
    wait_until(lambda: len(put_aside(roundtrip, poison)) == 2, "the poison to be put aside")
    codes = {code for _, _, code, _ in put_aside(roundtrip, poison)}
    assert codes == {"unknown_type", "malformed_json"}
    wait_until(lambda: not waiting(roundtrip), "every message to be acknowledged")


def test_a_feed_nobody_declared_is_waited_for_then_put_aside_and_can_be_replayed(
    roundtrip: Roundtrip,
) -> None:
    message_id = str(uuid.uuid4())
    publish(roundtrip, "nobodys", json.dumps(call(message_id)).encode())
    wait_until(lambda: put_aside(roundtrip, message_id), "the message to be put aside")
    [(id, feed, code, reason)] = put_aside(roundtrip, message_id)
    assert (feed, code) == ("nobodys", "unknown_feed")
    command = [sys.executable, "-m", "runtime.cli", "quarantine"]
    environment = dict(roundtrip.ours.environment)
    listed = subprocess.run([*command, "list"], env=environment, capture_output=True, text=True)
    assert f"{id}\tnobodys\tunknown_feed\t{reason}" in listed.stdout
    done = subprocess.run([*command, "replay", id], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: [i for i, *_ in put_aside(roundtrip, message_id) if i != id], "it to come again")


def test_a_message_on_which_the_format_fails_is_poison_after_bounded_deliveries() -> None:
    tried: list[str] = []
    aside: list[Quarantined] = []

    def fail(feed: str, payload: Payload) -> list[Record]:
        tried.append(feed)
        raise ZeroDivisionError

    async def run(url: str) -> None:
        stop, client = asyncio.Event(), await connect(url)

        async def put_aside(items: Sequence[Quarantined]) -> None:
            aside.extend(items)
            stop.set()

        async def nothing(*_: object) -> None:
            pass

        view = WorkspaceView({}, {}, "wall", {}, {"odd": fail})
        door = Door(nothing, lambda: view, nothing, put_aside, lambda: 0)
        await ensure_streams(client.jetstream())
        await client.jetstream().publish("roundtrip.in.odd", b"{}")
        await asyncio.wait_for(run_intake(client.jetstream(), door, stop, 1), 60)
        await client.close()

    with temporary_home() as home, start_nats(home) as server:
        asyncio.run(run(server.url))
    assert tried == ["odd"] * DELIVERIES
    assert [(item.feed, item.code, item.body) for item in aside] == [("odd", "too_many_deliveries", b"{}")]
