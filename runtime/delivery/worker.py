"""One connection's worker: a batch from NATS, its delivery, its outcomes to NATS, and then the next.

Exactly one batch of a connection is on its way at a time, whatever the number of workers, so the order per
profile and connection holds. A batch is acknowledged after NATS has its outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from adapters.bus.consumer import Consumer, open_consumer, reconnects
from adapters.bus.publish import RESENT
from adapters.bus.streams import OUT, ensure_streams
from adapters.bus.subject import token
from domain.outbound import Outbound, Outcome
from runtime.delivery.attempts import Delivery, Destination
from runtime.delivery.coalescing import Coalescing, Look
from runtime.delivery.errors import LeaseLostError, LeftError
from runtime.delivery.lease import held
from runtime.delivery.outcomes import publish_outcomes
from runtime.failpoints import failpoint

#: How long NATS waits for a heartbeat, and a batch after the crash of its worker; well over two fetches.
ACK_WAIT_S: Final = 15.0
ACK_WITHIN_S: Final = 5.0
#: Also the longest time until a worker with nothing to do notices that it is to stop.
FETCH_WAIT_S: Final = 0.4
AGAIN_S: Final = 1.0

#: Those of these outbound records' ids that have an outcome. Raises `ConsentUnknownError` when it cannot tell.
Closed = Callable[[Sequence[str]], Awaitable[Collection[str]]]

_decode = msgspec.json.Decoder(list[Outbound]).decode
log = structlog.get_logger("deliver")


class Bus(NamedTuple):
    """The connection to NATS and its JetStream. `replicas` is for streams that have to be made again."""

    client: Client
    js: JetStreamContext
    replicas: int = 1


class DeliveryWorker:
    """Delivers what is requested of one connection. `refused` counts messages that were no batch of it. With a `look`,
    what was overtaken while it waited is not sent; with `closed`, what has an outcome is not sent again."""

    def __init__(
        self,
        connection: str,
        to: Destination,
        bus: Bus,
        ack_wait_s: float = ACK_WAIT_S,
        look: Look | None = None,
        closed: Closed | None = None,
    ) -> None:
        self.refused = 0
        self._connection = connection
        self._to = to
        self._bus = bus
        self._ack_wait_s = ack_wait_s
        self._coalescing = Coalescing(connection, look) if look is not None else None
        self._closed = closed
        self._log = log.bind(connection=connection)

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop`. A NATS that is away, or has lost its streams, is waited for."""
        while not stop.is_set():
            try:
                await self._consume(stop)
            except (NatsError, TimeoutError) as error:
                self._log.warning("nats is away", error=type(error).__name__)
                await _sleep(stop, AGAIN_S)

    async def _consume(self, stop: asyncio.Event) -> None:
        begun = reconnects(self._bus.js)
        subscription, old = await self._subscribe()
        try:
            asked = time.monotonic()
            while not stop.is_set() and reconnects(self._bus.js) == begun:
                # What one fetch was too late for, the next one finds.
                since, asked = asked, time.monotonic()
                try:
                    [message] = await subscription.fetch(1, timeout=FETCH_WAIT_S)
                except TimeoutError:
                    continue
                await self._handle(message, since, stop, perhaps_old=message.metadata.sequence.stream <= old)
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def _subscribe(self) -> Consumer:
        js = self._bus.js
        await ensure_streams(js, self._bus.replicas)
        name = token(self._connection)
        config = ConsumerConfig(
            durable_name=name,
            filter_subject=f"roundtrip.out.{name}",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_ack_pending=1,
        )
        return await open_consumer(js, OUT, config)

    async def _handle(self, message: Msg, since: float, stop: asyncio.Event, perhaps_old: bool) -> None:
        batch = await self._read(message)
        if not batch:
            return
        async with held(self._bus.client, message, since, self._ack_wait_s) as lease:
            again, resent = message.metadata.num_delivered > 1, RESENT in (message.headers or {})
            # Where nothing waits behind it, nothing has overtaken it.
            coalescing = self._coalescing if message.metadata.num_pending or again or resent else None
            delivery = Delivery(self._to, lease, stop, again, coalescing, resent)
            try:
                done = await self._done(batch) if perhaps_old or again or resent else ()
                outcomes = await delivery.run(batch, done)
                await publish_outcomes(self._bus.js, self._connection, batch[0].batch, outcomes, stop)
            except LeaseLostError:
                # Nor is the message given back: it may be in another worker's hands.
                self._log.warning("batch left to another worker", batch=batch[0].batch)
                return
            except LeftError as error:
                self._log.info("batch left for later", batch=batch[0].batch, why=type(error).__name__)
                await message.nak(delay=AGAIN_S)
                return
            failpoint("deliver.outcome_published")
            await message.ack_sync(timeout=ACK_WITHIN_S)
            if self._coalescing is not None:
                self._coalescing.closed(delivery.overtaken)
        failpoint("deliver.acked")
        self._log.info("batch closed", batch=batch[0].batch, requests=delivery.attempts, **_counts(outcomes))

    async def _done(self, batch: Sequence[Outbound]) -> Collection[str]:
        """The ids of those that have an outcome: a NATS of before a loss gives out again what was done since."""
        return await self._closed([one.id for one in batch]) if self._closed is not None else ()

    async def _read(self, message: Msg) -> list[Outbound]:
        """The message's batch; empty when it is none, and then NATS need not send it again. Nothing is lost
        by that: the log holds what was requested."""
        try:
            batch = _decode(message.data)
            if not batch:
                raise msgspec.ValidationError("a batch holds at least one record")
            if any((o.connection, o.batch) != (self._connection, batch[0].batch) for o in batch):
                raise msgspec.ValidationError(f"not all is of one batch of '{self._connection}'")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.refused += 1
            sequence = message.metadata.sequence.stream
            self._log.error("message refused", sequence=sequence, reason=str(error), refused=self.refused)
            await message.term()
            return []
        return batch


def _counts(outcomes: list[Outcome]) -> dict[str, int]:
    counts = dict.fromkeys(("delivered", "dead", "suppressed"), 0)
    for outcome in outcomes:
        counts[outcome.status] += 1
    return counts


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
