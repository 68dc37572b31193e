"""What one destination does costs no other anything, and nobody is talked to faster than they want."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Judgement, Request
from adapters.http.client import HttpClient, NoAnswerError
from domain.circuit import FAILURES
from domain.outbound import Outbound
from domain.pace import Rate
from domain.workspace import Connection
from runtime.delivery.gate import Gate
from runtime.delivery.run import run_deliver
from tests.integration.delivering import APP, Bench, bench, delivering, everybody, worker
from tests.integration.destination import Destination, held_until, refusing, serving


def one_each(config: ConnectorConfig, outbound: Any) -> list[Request]:
    """A request for each record, as a webhook has them."""
    body = b'{"idempotency_key":"%b","include_aliases":{"external_id":["%b"]}}'
    return [
        Request(
            "POST",
            f"{config.settings['base_url']}/notifications",
            {"content-type": "application/json"},
            body % (one.id.encode(), one.fields["external_id"].encode()),
            (one,),
        )
        for one in outbound
    ]


def judged(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    verdict = "delivered" if answer.status == 200 else "retry" if answer.status >= 500 else "dead"
    return [Judgement(one, verdict, f"answered {answer.status}") for one in request.outbound]  # type: ignore[arg-type]


WEBHOOK = Connector(100, frozenset({"add", "remove"}), lambda config: None, one_each, judged)


def test_an_unusable_and_a_hanging_connection_leave_the_others_their_speed(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with bench(nats_url) as good, bench(nats_url) as slow, serving() as works, serving() as hangs:
            hangs.script.append(held_until(asyncio.Event()))
            base = {
                "connector": "onesignal",
                "audience": "a",
                "fields": {"external_id": "identifier.user_id"},
                "secrets": {"api_key": {"env": "KEY"}},
                "allow_private": True,
            }
            settings = {"app_id": APP, "contents": {"en": "Hello"}}
            connections = {
                good.connection: {**base, "settings": {**settings, "base_url": works.url}},
                slow.connection: {**base, "settings": {**settings, "base_url": hangs.url}},
                "unusable": {**base, "settings": settings, "secrets": {"api_key": {"env": "UNSET"}}},
            }
            declared = {name: Connection.model_validate(said) for name, said in connections.items()}
            stop = asyncio.Event()
            running = asyncio.create_task(
                run_deliver(nats_url, declared, everybody, stop, environ={"KEY": "key"})
            )
            await slow.request(slow.batch(1))
            await hangs.until(lambda: hangs.seen)
            await good.request(good.batch(3), good.batch(3))
            assert {o.status for o in await good.outcomes(6)} == {"delivered"}
            stop.set()
            await running

    asyncio.run(run())


def test_a_destination_that_fails_again_and_again_is_left_alone_and_then_tried(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.retry.CAP_S", 0.001)
    gate = Gate("push")

    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination, gate=gate):
            await on.request(on.batch(1))
            await destination.until(lambda: len(destination.seen) == FAILURES)
            await destination.until(lambda: gate.open)
            since = time.monotonic()
            [outcome] = await on.outcomes(1)
            assert time.monotonic() - since > 0.3
        assert outcome.status == "delivered"
        assert len(destination.seen) == FAILURES + 1
        assert not gate.open

    delivering(nats_url, test, *[refusing(503)] * FAILURES)


def test_a_destination_that_is_gone_gets_nothing_more(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        async with worker(on, destination, gate=Gate("push")):
            await on.request(on.batch(1), on.batch(2))
            outcomes = await on.outcomes(3)
        assert {o.status for o in outcomes} == {"dead"}
        assert sum("until the connection is declared anew" in o.reason for o in outcomes) == 2
        assert len(destination.seen) == 1

    delivering(nats_url, test, refusing(410))


def test_requests_of_a_batch_go_side_by_side_but_those_of_one_person_in_turn(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        released = asyncio.Event()
        destination.script += [held_until(released), held_until(released), held_until(released)]
        [first, second, third] = on.batch(3)
        again = on.batch(1)[0]
        together = [
            first,
            second,
            third,
            Outbound(**{f: getattr(again, f) for f in again.__struct_fields__} | {"batch": first.batch}),
        ]
        async with worker(on, destination, connector=WEBHOOK, gate=Gate("hook", concurrency=4)):
            await on.request(together)
            # Three people at once; the second request of the first one waits for its first.
            await destination.until(lambda: len(destination.seen) == 3)
            assert sorted(seen.people[0] for seen in destination.seen) == ["user-0", "user-1", "user-2"]
            released.set()
            outcomes = await on.outcomes(4)
        assert [o.status for o in outcomes] == ["delivered"] * 4
        assert destination.seen[3].people == ["user-0"]

    delivering(nats_url, test)


def test_a_declared_rate_is_kept(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        gate = Gate("hook", Rate(10, 1.0), concurrency=4)
        async with worker(on, destination, connector=WEBHOOK, gate=gate):
            since = time.monotonic()
            await on.request(on.batch(20))
            await on.outcomes(20)
            # Two at once, and then ten a second.
            assert time.monotonic() - since >= 1.7

    delivering(nats_url, test)


def test_a_name_that_leads_inside_is_refused_at_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def leads_inside(host: Any, *rest: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host == "tool.example.com" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", leads_inside)

    async def run() -> None:
        async with serving() as destination:
            url = f"http://tool.example.com:{destination.port}/notifications"
            request = Request("POST", url, {"content-type": "application/json"}, b"{}", ())
            async with HttpClient() as guarded:
                with pytest.raises(NoAnswerError, match=r"'tool\.example\.com' is an inner address"):
                    await guarded.send(request)
            assert not destination.seen

    asyncio.run(run())
