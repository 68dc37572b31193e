"""A delivery process killed at every step: nobody is sent a second push, every record has one outcome."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from adapters.connectors.configuration import ConfigurationError
from domain.workspace import Connection
from runtime.delivery.run import prepare
from tests.integration.delivering import APP, Bench, bench
from tests.integration.destination import Destination, refusing, serving
from tests.servers import REPOSITORY

POINTS = ("deliver.before_send", "deliver.sent", "deliver.outcome_published", "deliver.acked")


@asynccontextmanager
async def started(
    on: Bench, nats_url: str, destination: Destination, failpoint: str = "", output: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "ROUNDTRIP_NATS_URL": nats_url,
        "ROUNDTRIP_PUSH_URL": destination.url,
        "ROUNDTRIP_PUSH_API_KEY": "key",
        "ROUNDTRIP_FAILPOINT": failpoint,
        "PYTHONUNBUFFERED": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.delivery_process",
        on.connection,
        cwd=REPOSITORY,
        env=environment,
        stdout=output,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def running(on: Bench, nats_url: str, destination: Destination) -> AsyncIterator[None]:
    async with started(on, nats_url, destination) as process:
        yield
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_same_key_is_sent_and_every_record_has_one_outcome(
    nats_url: str, point: str
) -> None:
    async def run() -> None:
        async with bench(nats_url) as on, serving() as destination:
            batches = [on.batch(2) for _ in range(3)]
            await on.request(*batches)

            async with started(on, nats_url, destination, f"{point}:2") as killed:
                assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
            async with running(on, nats_url, destination):
                outcomes = await on.outcomes(6)

            assert sorted(o.id for o in outcomes) == sorted(o.id for batch in batches for o in batch)
            assert {o.status for o in outcomes} == {"delivered"}
            sent = list(dict.fromkeys(seen.body["data"]["outbound_batch"] for seen in destination.seen))
            assert sent == [batch[0].batch for batch in batches]
            assert len({seen.key for seen in destination.seen}) == len(destination.effects) == 3
            again = len(destination.seen) - 3
            assert again == (1 if point in ("deliver.sent", "deliver.outcome_published") else 0)
            assert await on.waiting() == 0

    asyncio.run(run())


def test_a_process_that_was_stopped_past_its_lease_sends_nothing_more(nats_url: str) -> None:
    async def run() -> None:
        async with (
            bench(nats_url) as on,
            serving(refusing(503, retry_after="1")) as destination,
            started(on, nats_url, destination, output=asyncio.subprocess.PIPE) as zombie,
        ):
            batches = [on.batch(1) for _ in range(2)]
            await on.request(*batches)
            await destination.until(lambda: destination.seen)
            zombie.send_signal(signal.SIGSTOP)
            async with running(on, nats_url, destination):
                await on.outcomes(2)
            zombie.send_signal(signal.SIGCONT)
            assert zombie.stdout is not None
            async with asyncio.timeout(10):
                while b"batch left to another worker" not in await zombie.stdout.readline():
                    pass
            zombie.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(zombie.wait(), 60) == 0
            sent = [seen.body["data"]["outbound_batch"] for seen in destination.seen]
            assert sent == [batches[0][0].batch] * 2 + [batches[1][0].batch]

    asyncio.run(run())


def test_a_batch_that_waits_for_its_next_try_is_given_back_at_the_end(nats_url: str) -> None:
    async def run() -> None:
        async with bench(nats_url) as on, serving(refusing(503, retry_after="600")) as destination:
            await on.request(on.batch(1))
            async with running(on, nats_url, destination):
                await destination.until(lambda: destination.seen)
            async with running(on, nats_url, destination):
                [outcome] = await on.outcomes(1)
            assert outcome.status == "delivered"
            first, second = destination.seen
            assert first.body == second.body

    asyncio.run(run())


def test_what_is_wrong_with_a_connection_is_said_and_the_others_are_usable() -> None:
    base: dict[str, Any] = {
        "connector": "onesignal",
        "audience": "a",
        "fields": {"external_id": "identifier.user_id"},
        "secrets": {"api_key": {"env": "KEY"}},
    }
    settings = {"app_id": APP, "contents": {"en": "Hello"}}
    different: dict[str, dict[str, Any]] = {
        "good": {},
        "unset": {"settings": {**settings, "base_url": "${URL}"}},
        "pigeon": {"connector": "carrier_pigeon"},
        "inner": {"settings": {**settings, "base_url": "http://2130706433/"}},
    }
    declared = {
        name: Connection.model_validate({**base, "settings": settings, **other})
        for name, other in different.items()
    }
    usable, unusable = prepare(declared, {"KEY": "key"})
    assert list(usable) == ["good"]
    assert "variable URL" in unusable["unset"]
    assert "'carrier_pigeon'" in unusable["pigeon"]
    assert "'2130706433' is an inner address" in unusable["inner"]
    with pytest.raises(ConfigurationError, match="'four' is not declared; declared are: good, inner"):
        prepare(declared, {}, only={"good", "four"})
