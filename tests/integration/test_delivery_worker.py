"""What a delivery worker makes of a batch, and of what is none."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.bus.publish import publish_batch
from tests.integration.delivering import Bench, delivering, worker
from tests.integration.destination import (
    Destination,
)


def test_a_batch_is_delivered_and_acknowledged(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        batch = on.batch(3)
        async with worker(on, destination):
            await on.request(batch)
            outcomes = await on.outcomes(3)
        [seen] = destination.seen
        assert seen.people == [o.fields["external_id"] for o in sorted(batch, key=lambda o: o.id)]
        assert seen.headers["authorization"] == "Key key"
        assert [(o.id, o.connection, o.status, o.reference, o.attempts) for o in outcomes] == [
            (o.id, on.connection, "delivered", destination.ids[seen.key], 1) for o in batch
        ]
        assert await on.waiting() == 0

    delivering(nats_url, test)


def test_who_has_withdrawn_consent_is_suppressed(nats_url: str) -> None:
    async def refuse_one(purpose: str, profiles: Sequence[str]) -> set[str]:
        assert purpose == "push"
        return set(profiles) - {"profile-1"}

    async def test(on: Bench, destination: Destination) -> None:
        batch = on.batch(3)
        async with worker(on, destination, refuse_one):
            await on.request(batch)
            outcomes = await on.outcomes(3)
        assert "user-1" not in destination.seen[0].people
        assert [o.status for o in outcomes] == ["delivered", "suppressed", "delivered"]
        assert outcomes[1].reason == "no consent to 'push' at delivery"

    delivering(nats_url, test)


def test_a_removal_needs_no_consent_and_a_change_not_taken_is_suppressed(nats_url: str) -> None:
    async def nobody(purpose: str, profiles: Sequence[str]) -> set[str]:
        raise AssertionError("a removal asks for no consent")

    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination, nobody):
            await on.request(on.batch(1, change="remove"))
            [outcome] = await on.outcomes(1)
        assert (outcome.status, outcome.reason) == ("suppressed", "the destination takes no 'remove'")

    delivering(nats_url, test)


def test_what_cannot_be_rendered_is_dead(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination):
            await on.request(on.batch(1, fields={}))
            [outcome] = await on.outcomes(1)
        assert outcome.status == "dead"
        assert outcome.reason.endswith("can make no request of its fields")

    delivering(nats_url, test)


def test_messages_that_are_no_batch_are_refused_once_each(nats_url: str) -> None:
    poison = [b"", b"{", b"[]", b"[{}]", b'[{"id": 1}]', b"\xff"]

    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination) as running:
            await publish_batch(
                on.js, [on.message(payload, f"{on.connection}:{n}") for n, payload in enumerate(poison)]
            )
            await on.request(on.batch(1))
            await on.outcomes(1)
            assert running.refused == len(poison)
        assert await on.waiting() == 0

    delivering(nats_url, test)


def test_a_batch_of_another_connection_is_refused(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination) as running:
            await on.request(on.batch(1, connection="other"), on.batch(1))
            await on.outcomes(1)
            assert running.refused == 1
        assert len(destination.seen) == 1

    delivering(nats_url, test)


def test_a_large_batch_has_its_outcomes_in_several_messages(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        batch = on.batch(2_000)
        async with worker(on, destination):
            await on.request(batch)
            outcomes = await on.outcomes(2_000)
        assert [o.id for o in outcomes] == [o.id for o in batch]
        assert len(destination.seen) == 1

    delivering(nats_url, test)
