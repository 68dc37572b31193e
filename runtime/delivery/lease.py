"""Whose batch it is: NATS gives a message to one worker, and to another when it does not hear of it in time.

A worker that was stopped for a while and goes on must not send what another has sent meanwhile, so it looks
at its own clock before every request: one that NATS has not answered for so long has nothing left to send.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from runtime.delivery.errors import LeaseLostError


class Lease:
    """The right to send one batch, for `ack_wait_s` seconds from `since` and from each heartbeat that NATS
    has answered. All times are of the monotonic clock. A lease that has run out is never held again: NATS
    answers heartbeats for a message that is another worker's, too."""

    def __init__(self, since: float, ack_wait_s: float) -> None:
        self._ack_wait_s = ack_wait_s
        self._renewed = since

    def renew(self, at: float) -> None:
        """Notes a heartbeat that was sent at `at`, and has been answered."""
        if at - self._renewed < self._ack_wait_s:
            self._renewed = at

    def require(self) -> None:
        """Raises `LeaseLostError` when NATS may have given the batch away."""
        if time.monotonic() - self._renewed >= self._ack_wait_s:
            raise LeaseLostError


@asynccontextmanager
async def held(bus: Client, message: Msg, since: float, ack_wait_s: float) -> AsyncIterator[Lease]:
    """Holds a message for as long as the block runs. `since` is no later than when NATS gave it away."""
    lease, over = Lease(since, ack_wait_s), asyncio.Event()
    heartbeats = asyncio.create_task(_renew(bus, message, lease, ack_wait_s / 3, over))
    try:
        yield lease
    finally:
        over.set()
        heartbeats.cancel()
        with suppress(asyncio.CancelledError):
            await heartbeats


async def _renew(bus: Client, message: Msg, lease: Lease, every_s: float, over: asyncio.Event) -> None:
    """Renews until it is `over`: a cancellation alone is lost where it meets the answer that a request waits for
    (`asyncio.wait_for` of Python 3.11), and the batch would be held for ever."""
    while not over.is_set():
        sent = time.monotonic()
        with suppress(NatsError, TimeoutError):
            await bus.request(message.reply, Msg.Ack.Progress, timeout=every_s)
            lease.renew(sent)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), every_s)
