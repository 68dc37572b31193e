"""One connection's gate: who may send now. It keeps the declared rate and what the destination asks for, and leaves
a destination alone that fails (`domain/circuit.py`). Nothing here knows of other connections."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiolimiter import AsyncLimiter

from adapters.connectors.connector import Answer
from domain.circuit import CLOSED, failed, succeeded
from domain.pace import Rate, at_once, pause_s
from runtime.delivery.errors import StoppedError

#: The reason of records whose destination has said that it is gone for good.
GONE: Final = (
    "the destination answered 410 Gone, and nothing more is sent to it until the connection is declared anew"
)

log = structlog.get_logger("deliver")


class Gate:
    """Belongs to one event loop. `gone` is true once the destination has answered 410."""

    def __init__(self, connection: str, rate: Rate | None = None, concurrency: int = 1) -> None:
        self.gone = False
        self._connection = connection
        self._limiter = _limiter(rate) if rate is not None else None
        self._slots = asyncio.Semaphore(concurrency)
        self._trial = asyncio.Lock()
        self._circuit = CLOSED
        self._pause_until = 0.0

    @property
    def open(self) -> bool:
        """Whether the destination is being left alone."""
        return self._circuit.open

    @asynccontextmanager
    async def turn(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Holds a place among those that may send at once, from when it is time to. While the circuit is open one
        request at a time is a trial. Raises `StoppedError` where `stop` comes first."""
        async with self._slots:
            if not self._circuit.open:
                await self._in_time(stop)
                yield
                return
            async with self._trial:
                await self._in_time(stop)
                yield

    async def _in_time(self, stop: asyncio.Event) -> None:
        while (wait := max(self._circuit.wait(time.monotonic()), self._pause_until - time.monotonic())) > 0:
            await _or_stopped(asyncio.sleep(wait), stop)
        if self._limiter is not None and not self._limiter.has_capacity():
            await _or_stopped(self._limiter.acquire(), stop)
        elif self._limiter is not None:
            await self._limiter.acquire()

    def answered(self, answer: Answer) -> None:
        """Learns from an answer: whether the destination works, and when it wants the next request."""
        if answer.status == 410:
            self.gone = True
            log.error("destination is gone", connection=self._connection)
        if answer.status >= 500:
            self.failed()
        else:
            self.succeeded()
        self._pause_until = max(self._pause_until, time.monotonic() + pause_s(answer.headers))

    def succeeded(self) -> None:
        if self._circuit.open:
            log.info("circuit closed", connection=self._connection)
        self._circuit = succeeded(self._circuit)

    def failed(self) -> None:
        """Notes that the destination itself failed: it gave no answer, or one of its own fault."""
        before, now = self._circuit, time.monotonic()
        self._circuit = failed(before, now, random.random())
        if self._circuit.open:
            wait = round(self._circuit.wait(now), 3)
            log.warning(
                "circuit open", connection=self._connection, failures=self._circuit.failures, wait=wait
            )


def _limiter(rate: Rate) -> AsyncLimiter:
    most = at_once(rate)
    return AsyncLimiter(most, most * rate.seconds / rate.requests)


async def _or_stopped(waiting: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    task = asyncio.create_task(waiting)
    ending = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError
    finally:
        task.cancel()
        ending.cancel()
