"""A delivery worker and the faults of destinations, of NATS and of what it depends on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest
from nats.errors import Error as NatsError

from adapters.bus.streams import OUT
from adapters.connectors.onesignal import CONNECTOR
from domain import retry
from runtime.delivery import consent
from runtime.delivery.errors import ConsentUnknownError
from runtime.embedded.nats import start_nats
from tests.integration.delivering import Bench, bench, delivering, worker
from tests.integration.destination import (
    Answering,
    Destination,
    dropping_after_effect,
    held_until,
    holding_back,
    refusing,
    serving,
)
from tests.servers import temporary_home


@pytest.mark.parametrize(
    "fault",
    [refusing(503), refusing(429, retry_after="0"), refusing(429, retry_after="soon"), dropping_after_effect],
    ids=["503", "429", "429 with garbage", "drop after the effect"],
)
def test_after_a_passing_fault_the_same_request_is_sent_again(nats_url: str, fault: Answering) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination):
            await on.request(on.batch(2))
            outcomes = await on.outcomes(2)
        first, second = destination.seen
        assert first.body == second.body
        assert list(destination.effects) == [first.key]
        assert [(o.status, o.attempts) for o in outcomes] == [("delivered", 2), ("delivered", 2)]

    delivering(nats_url, test, fault)


def test_retry_after_is_waited_for(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination):
            await on.request(on.batch(1))
            await destination.until(lambda: len(destination.seen) == 1)
            since = time.monotonic()
            await destination.until(lambda: len(destination.seen) == 2)
            assert time.monotonic() - since >= 0.9
            await on.outcomes(1)

    delivering(nats_url, test, refusing(429, retry_after="1"))


def test_a_refusal_is_dead_at_once(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination):
            await on.request(on.batch(1))
            [outcome] = await on.outcomes(1)
        assert (outcome.status, outcome.reason) == ("dead", "OneSignal answered 400: scripted")

    delivering(nats_url, test, refusing(400))


def test_a_fault_that_does_not_pass_is_dead_in_the_end(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "BASE_S", 0.001)

    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination, give_up_s=30):
            await on.request(on.batch(1))
            [outcome] = await on.outcomes(1)
        assert len({seen.key for seen in destination.seen}) == 1
        assert len(destination.seen) == outcome.attempts == 4
        assert outcome.status == "dead"
        assert outcome.reason == (
            "OneSignal answered 500: scripted; gave up after 4 attempts: the next would be later than 30 s"
        )

    # That the fourth asks for a minute ends it at once, however fast this machine is.
    delivering(nats_url, test, *[refusing(500)] * 3, refusing(500, retry_after="60"), *[refusing(500)] * 9)


def test_a_destination_that_says_nothing_is_left_at_the_deadline(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        destination.script.append(held_until(asyncio.Event()))
        async with worker(on, destination, deadline_s=0.3):
            await on.request(on.batch(1))
            [outcome] = await on.outcomes(1)
        assert outcome.status == "delivered"
        assert len(destination.seen) == outcome.attempts >= 2

    delivering(nats_url, test)


def test_consent_withdrawn_between_two_attempts_sends_nobody_a_second_push(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async def until_sent(purpose: str, profiles: Sequence[str]) -> set[str]:
            return set(profiles) - ({"profile-0"} if destination.seen else set())

        async with worker(on, destination, until_sent):
            await on.request(on.batch(3))
            outcomes = await on.outcomes(3)
        assert [len(seen.people) for seen in destination.seen] == [3, 2]
        assert len(destination.effects) == 1
        assert [o.status for o in outcomes] == ["suppressed", "delivered", "delivered"]
        assert outcomes[0].reason.endswith("an attempt before may have reached the person")

    delivering(nats_url, test, dropping_after_effect)


def test_consent_withdrawn_while_a_request_waits_for_its_turn_is_heeded(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "FRESH_S", 0.2)

    async def test(on: Bench, destination: Destination) -> None:
        looks: list[Sequence[str]] = []

        async def withdrawn_after_a_look(purpose: str, profiles: Sequence[str]) -> set[str]:
            looks.append(profiles)
            return set(profiles) - ({"profile-0"} if len(looks) > 2 else set())

        async with worker(on, destination, withdrawn_after_a_look):
            # The first answer has the next request wait for a second.
            await on.request(on.batch(3), on.batch(3))
            outcomes = await on.outcomes(6)
        assert [len(seen.people) for seen in destination.seen] == [3, 2]
        assert [o.status for o in outcomes] == ["delivered"] * 3 + ["suppressed"] + ["delivered"] * 2
        assert outcomes[3].reason == "no consent to 'push' at delivery"

    delivering(nats_url, test, holding_back(1))


def test_a_batch_waits_while_consent_cannot_be_told(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        asked = 0

        async def away_once(purpose: str, profiles: Sequence[str]) -> set[str]:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise ConsentUnknownError
            return set(profiles)

        async with worker(on, destination, away_once):
            await on.request(on.batch(1))
            [outcome] = await on.outcomes(1)
        assert outcome.status == "delivered"
        assert asked == 2

    delivering(nats_url, test)


def test_a_defect_of_the_connector_ends_its_batch_only(nats_url: str) -> None:
    def defective(*_: object) -> list[object]:
        raise KeyError("user-0")

    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination, connector=CONNECTOR._replace(judge=defective)):  # type: ignore[arg-type]
            await on.request(on.batch(1), on.batch(1))
            outcomes = await on.outcomes(2)
        expected = "the connector's judge failed (KeyError); this is a defect of the connector"
        assert [(o.status, o.reason) for o in outcomes] == [("dead", expected)] * 2

    delivering(nats_url, test)


def test_batches_keep_their_order_past_a_fault(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        batches = [on.batch(1) for _ in range(5)]
        await on.request(*batches)
        async with worker(on, destination), worker(on, destination):
            await on.outcomes(5)
        order = [seen.body["data"]["outbound_batch"] for seen in destination.seen]
        assert order == [batches[0][0].batch] * 2 + [batch[0].batch for batch in batches[1:]]

    delivering(nats_url, test, refusing(503))


def test_a_batch_outlasts_the_time_nats_waits_for_a_heartbeat(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        released = asyncio.Event()
        destination.script.append(held_until(released))
        async with worker(on, destination, ack_wait_s=1.2), worker(on, destination, ack_wait_s=1.2):
            await on.request(on.batch(1))
            await destination.until(lambda: destination.seen)
            asyncio.get_running_loop().call_later(2.0, released.set)
            await on.outcomes(1)
        assert len(destination.seen) == 1

    delivering(nats_url, test)


def test_a_slow_destination_slows_no_other(nats_url: str) -> None:
    async def run() -> None:
        released = asyncio.Event()
        async with (
            bench(nats_url) as slow,
            bench(nats_url) as quick,
            serving(held_until(released)) as stuck,
            serving() as fine,
            worker(slow, stuck),
            worker(quick, fine),
        ):
            await slow.request(slow.batch(1))
            await stuck.until(lambda: stuck.seen)
            await quick.request(*[quick.batch(1) for _ in range(20)])
            await quick.outcomes(20, seconds=20)
            released.set()
            await slow.outcomes(1)

    asyncio.run(run())


def test_a_worker_outlives_the_loss_of_the_streams() -> None:
    async def run(url: str, lose: Callable[[], None]) -> None:
        async with bench(url) as on, serving() as destination, worker(on, destination):
            await on.request(on.batch(1))
            await on.outcomes(1)
            lose()
            batch = on.batch(1)
            async with asyncio.timeout(60):
                while True:
                    try:
                        await on.js.stream_info(OUT)
                        break
                    except (NatsError, TimeoutError):
                        await asyncio.sleep(0.05)
            await on.request(batch)
            [outcome] = await on.outcomes(1)
            assert (outcome.id, outcome.status) == (batch[0].id, "delivered")

    with temporary_home() as home, start_nats(home) as server:

        def lose() -> None:
            server.stop()
            for path in sorted((home / "nats").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            server.start()

        asyncio.run(run(server.url, lose))
