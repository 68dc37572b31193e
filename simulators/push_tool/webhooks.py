"""Tells the engagement webhook what happened: again and again until it is taken, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import httpx2
import orjson
from starlette.concurrency import run_in_threadpool

from simulators.push_tool.events import Event, render
from simulators.push_tool.store import Store, Webhook

SECRET_HEADER: Final = "x-roundtrip-secret"  # noqa: S105
MAX_BATCH: Final = 500

#: Seconds between attempts, doubled from the first to the last.
FIRST_BACKOFF: Final = 0.1
LAST_BACKOFF: Final = 2.0
#: Seconds that the receiver has to answer.
_TIMEOUT: Final = 30.0
#: Seconds between looks at what has fallen due, while the wall's clock holds.
_WALL_TICK: Final = 1.0

_log: Final = logging.getLogger(__name__)


class Courier:
    """Takes due events out of the store, one request at a time, which keeps them in order.

    With a batch of 1 a request holds one event, as the vendor's do; with more it holds a JSON array.
    """

    def __init__(self, store: Store, app_id: str, batch: int) -> None:
        self._store = store
        self._app_id = app_id
        self._batch = batch
        self._news = asyncio.Event()
        self._webhook_changed = asyncio.Event()

    def wake(self) -> None:
        """There may be something due."""
        self._news.set()

    def webhook_changed(self) -> None:
        """Another webhook may do better: try at once."""
        self._webhook_changed.set()
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = FIRST_BACKOFF
        async with httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            while True:
                self._news.clear()
                self._webhook_changed.clear()
                webhook = await run_in_threadpool(self._store.webhook)
                events = await run_in_threadpool(self._store.due, self._batch) if webhook else []
                if webhook is None or not events:
                    await self._until_news()
                elif await self._tell(client, webhook, events):
                    backoff = FIRST_BACKOFF
                else:
                    await _wait(self._webhook_changed.wait, backoff)
                    backoff = min(backoff * 2, LAST_BACKOFF)

    async def _tell(self, client: httpx2.AsyncClient, webhook: Webhook, events: Sequence[Event]) -> bool:
        bodies = [render(event, self._app_id) for event in events]
        body = orjson.dumps(bodies[0] if self._batch == 1 else bodies)
        headers = {"content-type": "application/json", SECRET_HEADER: webhook.secret}
        try:
            answer = await client.post(webhook.url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            _log.info("webhook not reached: %s", type(error).__name__)
            await run_in_threadpool(self._store.not_told)
            return False
        if not answer.is_success:
            _log.warning("webhook answered %d to %d events; they are kept", answer.status_code, len(events))
            await run_in_threadpool(self._store.not_told)
            return False
        await run_in_threadpool(self._store.told, events)
        return True

    async def _until_news(self) -> None:
        simulated = await run_in_threadpool(self._store.clock) is not None
        await _wait(self._news.wait, None if simulated else _WALL_TICK)


async def _wait(until: Callable[[], Awaitable[object]], seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until()
