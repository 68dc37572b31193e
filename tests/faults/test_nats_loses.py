"""NATS loses what it had acknowledged, as at a power cut: it is noticed, and all is there again that the log has."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from nats.js.api import AckPolicy, ConsumerConfig

from adapters.bus.connection import connect
from adapters.bus.streams import LOG
from adapters.log.read import iterate
from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import Platform, platform
from runtime.engines import Engines, running
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.traffic import Traffic
from tests.faults.verifying import settled, verify
from tests.keys import opened
from tests.servers import wait_until


def nats_of(ours: Platform) -> psutil.Process:
    children = psutil.Process(ours.process_id).children()
    return next(one for one in children if one.name() == "nats-server")


def copy_of(store: Path, server: psutil.Process) -> Path:
    """What would be on the disk, had the machine lost its power now."""
    server.suspend()
    copied = store.with_name(f"{store.name}.copy")
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(store, copied)
    server.resume()
    return copied


@contextmanager
def down(ours: Platform) -> Iterator[Path]:
    """NATS is killed, and its supervisor stopped so that it stays so. The directory of the streams."""
    supervisor = psutil.Process(ours.process_id)
    server = nats_of(ours)
    supervisor.suspend()
    server.send_signal(signal.SIGKILL)
    wait_until(lambda: server.status() == psutil.STATUS_ZOMBIE, "NATS to be gone")
    yield ours.home / "nats"
    supervisor.resume()


def put_back(copy: Path, store: Path) -> None:
    shutil.rmtree(store)
    shutil.copytree(copy, store)


def put_back_beneath_newer_consumers(copy: Path, store: Path) -> None:
    newer = store.with_name(f"{store.name}.newer")
    store.rename(newer)
    shutil.copytree(copy, store)
    for consumers in newer.rglob("streams/*/obs"):
        place = store / consumers.relative_to(newer)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(consumers, place)
    shutil.rmtree(newer)


def truncate(_: Path, store: Path) -> None:
    for block in newest_blocks(store):
        os.truncate(block, block.stat().st_size // 2)


def flip_a_byte(_: Path, store: Path) -> None:
    for block in newest_blocks(store):
        content = bytearray(block.read_bytes())
        if content:
            content[len(content) // 2] ^= 1
            block.write_bytes(content)


def newest_blocks(store: Path) -> list[Path]:
    blocks: dict[Path, Path] = {}
    for block in store.rglob("msgs/*.blk"):
        blocks[block.parent] = max(block, blocks.get(block.parent, block), key=lambda one: int(one.stem))
    return list(blocks.values())


DAMAGES: list[Callable[[Path, Path], None]] = [
    put_back,
    put_back_beneath_newer_consumers,
    truncate,
    flip_a_byte,
]


def test_what_nats_has_lost_of_what_it_acknowledged_is_there_again(push: Simulator) -> None:
    with platform(WORKSPACE, {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url}) as ours:
        engines = running(ours.home)
        assert engines is not None
        traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
        for damage in DAMAGES:
            push.kill()
            traffic.some()
            wait_until(lambda: pushes_wait(ours), "pushes to wait")
            copy = copy_of(ours.home / "nats", nats_of(ours))
            push.start()
            push.wait()
            traffic.some()
            wait_until(lambda: settled(ours), "everything to be taken in and sent")
            replayed = push.get("status")["replayed_requests"]
            with down(ours) as store:
                damage(copy, store)
            traffic.some()
            wait_until(lambda: settled(ours), "everything to be taken in and sent")
            assert push.get("status")["replayed_requests"] == replayed, "what has an outcome is not repeated"
            wait_until(
                partial(is_whole, engines), f"the log's copy to be whole after '{damage.__name__}'", 60
            )
        verify(ours, engines, traffic.answered, push)


def pushes_wait(ours: Platform) -> bool:
    """Whether all is on the bus, pushes among it."""
    status = ours.status()
    behind = any(status["readers"][one]["lag"] for one in ("pipeline", "relay"))
    return not behind and bool(status["outbound"]["welcome"].get("pending"))


def is_whole(engines: Engines) -> bool:
    """Whether NATS has all the calls that the log has."""
    return positions(engines.database_url) <= asyncio.run(copied(engines.nats_url))


def positions(database: str) -> set[int]:
    """Where the calls stand in the log."""
    with opened(database) as connection:
        return {row.position for row in iterate(connection) if row.topic.startswith("track.")}


async def copied(url: str) -> set[int]:
    """Where the calls stand in the log that whoever subscribes to its copy is told."""
    client = await connect(url, "test")
    try:
        js = client.jetstream()
        waiting = (await js.stream_info(LOG)).state.messages
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, headers_only=True)
        subscription = await js.pull_subscribe("roundtrip.log.track.*", stream=LOG, config=config)
        found: set[int] = set()
        try:
            while len(found) < waiting:
                for message in await subscription.fetch(1_000, timeout=1):
                    found.add(int((message.headers or {})["ce-id"]))
        except TimeoutError:
            pass
        return found
    finally:
        await client.close()
