"""Delivery: from batches on NATS, by `roundtrip deliver` to a receiver on this machine, to outcomes in the log; the
pace after an outage, and memory while very much waits.

Consent is looked up for each record. What is on its way was requested in the log and relayed before the clock starts;
`roundtrip serve` takes the outcomes in. The reference is a bare httpx client that posts the same bodies, as many at a
time, in the same run. Goals: issue "Connectors", section "Speed".
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Final, NamedTuple

import httpx2
import msgspec
import psutil

from adapters.connectors.connector import Request
from benchmarks.of_delivery.destination import Receiver, receiver
from benchmarks.of_delivery.queue import Sending, sending
from benchmarks.parts import most_memory, part, processor_s, servers
from benchmarks.platform import free_port, wait_for
from benchmarks.report import Figure, arguments, conclude
from domain.outbound import Outbound
from runtime.delivery.run import ready

BATCHED: Final = 10_000
UNBATCHED: Final = 1_500
OFF_PERCENT: Final = 5
#: What memory may grow by while a hundred times as much waits.
FLAT: Final = 1.1
#: So many refusals open the circuit.
_REFUSALS: Final = 5


class Size(NamedTuple):
    """How many records each measurement has; at `rate` the paced connection sends."""

    batched: int
    unbatched: int
    outage: int
    rate: str
    waiting: int


class Delivered(NamedTuple):
    """Records a second with their outcomes in the log, and seconds of processor a record, by part."""

    rate: float
    deliver: float
    serve: float


def main() -> None:
    asked = arguments(__doc__)
    size = (
        Size(20_000, 2_500, 16_000, "8/s", 30_000)
        if asked.quick
        else Size(200_000, 20_000, 100_000, "10/s", 1_000_000)
    )
    with receiver() as there, servers() as ours, sending(ours, there, size.rate) as log:
        figures = _speeds(log, there, size) + _outage(log, there, size) + _memory(log, there, size)
    conclude("Delivery", figures, asked)


def _speeds(log: Sending, there: Receiver, size: Size) -> list[Figure]:
    batched, bare_batched = _deliver(log, there, "batched", size.batched), _bare(log, "batched", size.batched)
    hooks, bare_hooks = _deliver(log, there, "hooks", size.unbatched), _bare(log, "hooks", size.unbatched)
    return [
        Figure("batched, 500 records a request", batched.rate, "records/s", BATCHED),
        Figure("bare client, the same requests", bare_batched, "records/s"),
        Figure("batched ÷ bare client", batched.rate / bare_batched, "×"),
        Figure("cost of a record in deliver", 1e6 * batched.deliver, "µs of processor"),
        Figure("cost of its outcome in serve", 1e6 * batched.serve, "µs of processor"),
        Figure("unbatched webhooks", hooks.rate, "requests/s", UNBATCHED),
        Figure("bare client, the same requests", bare_hooks, "requests/s"),
        Figure("unbatched ÷ bare client", hooks.rate / bare_hooks, "×"),
        Figure("cost of a webhook in deliver", 1e6 * hooks.deliver, "µs of processor"),
    ]


def _deliver(log: Sending, there: Receiver, connection: str, records: int) -> Delivered:
    """Delivers so many records. Nothing but their outcomes comes into the log meanwhile."""
    log.queue(connection, records)
    there.begin()
    before = log.position()
    with ExitStack() as parts:
        serve, deliver = _parts(parts, log)
        wait_for(lambda: log.position() > before, "the first outcomes")
        first, began, spent = log.position(), time.perf_counter(), (processor_s(deliver), processor_s(serve))
        wait_for(lambda: log.position() >= before + records, "the outcomes", 1_200)
        took, counted = time.perf_counter() - began, before + records - first
        costs = [(processor_s(p) - s) / counted for p, s in zip((deliver, serve), spent, strict=True)]
    _check(there, records)
    return Delivered(counted / took, *costs)


def _parts(parts: ExitStack, log: Sending) -> tuple[psutil.Process, psutil.Process]:
    address = {"ROUNDTRIP_HTTP": f"127.0.0.1:{free_port()}"}
    environment = log.environment | address
    return (
        parts.enter_context(part("serve", log.servers, log.database, environment)),
        parts.enter_context(part("deliver", log.servers, log.database, environment)),
    )


def _check(there: Receiver, records: int) -> None:
    counts = there.counts()
    if counts.records - counts.repeated != records:
        raise SystemExit(f"{records} records were to be delivered, the receiver has {counts}")


def _bare(log: Sending, connection: str, records: int) -> float:
    """Records/s of a client that posts the same requests and keeps nothing of it."""
    declared = log.workspace.connections[connection]
    wire, config = ready(connection, declared, log.environment)
    outbound = [
        msgspec.json.decode(one.state, type=Outbound)
        for entries in log.entries(connection, records)
        for one in entries
    ]
    requests = [
        wire.sign(config, request, int(time.time()))
        for start in range(0, records, wire.max_batch)
        for request in wire.render(config, outbound[start : start + wire.max_batch])
    ]
    began = time.perf_counter()
    asyncio.run(_post(requests, declared.concurrency))
    return records / (time.perf_counter() - began)


async def _post(requests: list[Request], concurrency: int) -> None:
    waiting = requests[::-1]

    async def one(client: httpx2.AsyncClient) -> None:
        while waiting:
            request = waiting.pop()
            answer = await client.request(
                request.method, request.url, content=request.body, headers=request.headers
            )
            answer.raise_for_status()

    async with httpx2.AsyncClient(trust_env=False) as client:
        await asyncio.gather(*(one(client) for _ in range(concurrency)))


def _outage(log: Sending, there: Receiver, size: Size) -> list[Figure]:
    """A destination comes back when very many changes wait for it."""
    there.begin(down=True)
    before = log.position() + size.outage
    with ExitStack() as parts:
        _parts(parts, log)
        log.queue("paced", size.outage)
        wait_for(lambda: there.counts().refused >= _REFUSALS, "the circuit to open")
        there.begin()
        back = time.monotonic()
        wait_for(lambda: log.position() >= before + size.outage, "the outcomes", 1_200)
    _check(there, size.outage)
    at = there.counts().at
    declared = log.workspace.connections["paced"].rate
    assert declared is not None
    pace = (len(at) - 1) / (at[-1] - at[0]) / (declared.requests / declared.seconds)
    return [
        Figure(f"recovery, {size.outage:,} queued changes at {size.rate}", at[-1] - at[0], "s"),
        Figure("its pace ÷ the configured rate", pace, "×"),
        Figure("off the configured rate", 100 * abs(pace - 1), "%", OFF_PERCENT, at_most=True),
        Figure("until the first request after the outage", at[0] - back, "s"),
    ]


def _memory(log: Sending, there: Receiver, size: Size) -> list[Figure]:
    """What deliver and relay hold while records wait for a destination that is down."""
    there.begin(down=True)
    few = size.waiting // 100
    with ExitStack() as parts:
        _, deliver = _parts(parts, log)
        relay = parts.enter_context(part("relay", log.servers, log.database))
        log.request("batched", few)
        log.wait_relayed()
        wait_for(lambda: there.counts().refused > 0, "the first refusal")
        begun = most_memory(deliver), most_memory(relay)
        log.request("batched", size.waiting - few)
        log.wait_relayed()
        grown = most_memory(deliver), most_memory(relay)
    return [
        Figure(f"memory of deliver, {size.waiting:,} queued", grown[0], "MB"),
        Figure(f"the same ÷ that with {few:,} queued", grown[0] / begun[0], "×", FLAT, at_most=True),
        Figure(f"memory of relay, {size.waiting:,} queued", grown[1], "MB"),
        Figure(f"the same ÷ that with {few:,} queued", grown[1] / begun[1], "×", FLAT, at_most=True),
    ]


if __name__ == "__main__":
    main()
