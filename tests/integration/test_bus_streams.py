"""The streams and the pipelined publish, on a real NATS server."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType

from adapters.bus.cloud_event import cloud_event
from adapters.bus.connection import connect
from adapters.bus.consumer import open_consumer
from adapters.bus.errors import BusUnavailableError, PublishError
from adapters.bus.publish import Message, publish_batch
from adapters.bus.streams import IN, LOG, OUT, ensure_streams
from runtime.embedded.nats import start_nats
from tests.servers import temporary_home


def on_bus(url: str, test: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    async def run() -> None:
        client = await connect(url)
        try:
            await test(client.jetstream())
        finally:
            await client.close()

    asyncio.run(run())


def message(subject: str, payload: bytes = b"{}", msg_id: str | None = None) -> Message:
    return Message(subject, payload, cloud_event(id="1", type="t", source="s", msg_id=msg_id or uuid4().hex))


def test_the_streams_are_made_once_and_a_lost_directory_shows() -> None:
    with temporary_home() as home, start_nats(home) as server:

        async def first(js: JetStreamContext) -> None:
            made = await ensure_streams(js)
            assert [(stream.name, stream.new) for stream in made] == [(IN, True), (LOG, True), (OUT, True)]
            again = await ensure_streams(js)
            assert [(s.name, s.created, s.new) for s in again] == [(s.name, s.created, False) for s in made]
            for name in (IN, OUT):
                config = (await js.stream_info(name)).config
                assert config.retention == RetentionPolicy.WORK_QUEUE
                assert config.storage == StorageType.FILE
                assert config.duplicate_window == 120
            before.update({stream.name: stream.created for stream in made})

        async def after(js: JetStreamContext) -> None:
            made = await ensure_streams(js)
            assert all(stream.new and stream.created != before[stream.name] for stream in made)

        before: dict[str, str] = {}
        on_bus(server.url, first)
        server.stop()
        for path in sorted((home / "nats").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        server.start()
        on_bus(server.url, after)


def test_what_an_older_copy_of_the_queues_holds_is_given_out_though_its_consumer_was_past_it() -> None:
    """`tests/faults/test_nats_loses.py` does the same to a whole platform."""
    config = ConsumerConfig(
        durable_name="there", filter_subject="roundtrip.out.there", ack_policy=AckPolicy.EXPLICIT
    )

    async def first(js: JetStreamContext) -> None:
        await ensure_streams(js)
        await publish_batch(js, [message("roundtrip.out.there", str(n).encode()) for n in range(3)])

    async def take(js: JetStreamContext) -> None:
        opened = await open_consumer(js, OUT, config)
        taken = []
        for one in await opened.subscription.fetch(3, timeout=5):
            taken.append(one.data)
            await one.ack_sync()
            assert one.metadata.sequence.stream <= opened.old, "it may have been given out before"
        assert taken == [b"0", b"1", b"2"]

    with temporary_home() as home, start_nats(home) as server:
        on_bus(server.url, first)
        server.stop()
        older, newer = home / "older", home / "newer"
        shutil.copytree(home / "nats", older)
        server.start()
        on_bus(server.url, take)
        server.stop()
        (home / "nats").rename(newer)
        older.rename(home / "nats")
        [consumers] = newer.rglob(f"streams/{OUT}/obs")
        shutil.copytree(consumers, home / "nats" / consumers.relative_to(newer), dirs_exist_ok=True)
        server.start()
        on_bus(server.url, take)


def test_bounds_that_have_changed_are_brought_up_to_date(nats_url: str) -> None:
    async def test(js: JetStreamContext) -> None:
        await ensure_streams(js)
        info = await js.stream_info(LOG)
        await js.update_stream(info.config.evolve(max_age=3_600.0))
        await ensure_streams(js)
        assert (await js.stream_info(LOG)).config.max_age == 7 * 86_400

    on_bus(nats_url, test)


def test_a_batch_is_published_in_order_and_duplicates_have_no_effect(nats_url: str) -> None:
    async def test(js: JetStreamContext) -> None:
        await ensure_streams(js)
        subject = f"roundtrip.log.test.{uuid4().hex}"
        messages = [message(subject, str(n).encode()) for n in range(2_500)]

        await publish_batch(js, messages)
        await publish_batch(js, messages)

        subscription = await js.pull_subscribe(subject, stream=LOG)
        got: list[bytes] = []
        while len(got) < len(messages):
            for each in await subscription.fetch(500, timeout=5):
                got.append(each.data)
                await each.ack()
        assert got == [m.payload for m in messages]
        info = await subscription.consumer_info()
        assert info.num_pending == 0

    on_bus(nats_url, test)


def test_what_was_not_acknowledged_is_named(nats_url: str) -> None:
    async def test(js: JetStreamContext) -> None:
        await ensure_streams(js)
        subject = f"roundtrip.log.test.{uuid4().hex}"
        messages = [message(subject), message("nowhere.at.all", msg_id="lost"), message(subject)]
        with pytest.raises(PublishError, match=r"1 of 3 messages .* \(lost on nowhere\.at\.all: ") as caught:
            await publish_batch(js, messages)
        assert [m.msg_id for m in caught.value.messages] == ["lost"]

    on_bus(nats_url, test)


def test_a_message_that_is_too_large_is_named_and_what_follows_is_not_sent(nats_url: str) -> None:
    async def test(js: JetStreamContext) -> None:
        await ensure_streams(js)
        subject = f"roundtrip.log.test.{uuid4().hex}"
        large = message(subject, b"x" * (9 * 1024 * 1024), msg_id="large")
        with pytest.raises(PublishError) as caught:
            await publish_batch(js, [message(subject), large, message(subject, msg_id="next")])
        assert [m.msg_id for m in caught.value.messages] == ["large", "next"]

    on_bus(nats_url, test)


def test_no_server_is_said_without_the_credentials() -> None:
    async def run() -> None:
        await connect("nats://secret@127.0.0.1:1", within_s=0.5)

    with pytest.raises(BusUnavailableError, match=r"^127\.0\.0\.1:1: no NATS server could be connected to"):
        asyncio.run(run())
