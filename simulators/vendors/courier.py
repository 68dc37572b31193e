"""Tells a vendor's webhook what it is to know: in order, one request at a time, again and again until it is taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import httpx2
from starlette.concurrency import run_in_threadpool

from simulators.state import State
from simulators.vendors.held import Held
from simulators.vendors.vendor import UNTOLD, Telling

#: Seconds until what was not taken is told again.
PAUSE_S: Final = 0.1
_TIMEOUT_S: Final = 30.0


class Courier:
    """One vendor's. `tell` gives the next request: see `Vendor`."""

    def __init__(
        self, vendor: str, tell: Callable[[Held, str, float], Telling | None], secret: str, state: State
    ) -> None:
        self._vendor = vendor
        self._tell = tell
        self._secret = secret
        self._state = state
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There may be something to tell."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as client:
            while True:
                self._news.clear()
                telling = await run_in_threadpool(self._next)
                if telling is None:
                    await self._news.wait()
                elif await _taken(client, telling):
                    await run_in_threadpool(self._told, telling)
                else:
                    await asyncio.sleep(PAUSE_S)

    def _next(self) -> Telling | None:
        with self._state.reading() as db:
            return self._tell(Held(db, self._vendor), self._secret, time.time())

    def _told(self, telling: Telling) -> None:
        with self._state.transaction() as db:
            for key in telling.keys:
                Held(db, self._vendor).drop(UNTOLD, key)


async def _taken(client: httpx2.AsyncClient, telling: Telling) -> bool:
    try:
        answer = await client.post(telling.url, content=telling.body, headers=telling.headers)
    except httpx2.HTTPError:
        return False
    return answer.is_success
