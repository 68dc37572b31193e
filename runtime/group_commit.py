"""Group commit: many requests, one transaction, and an answer only after it is durable.

A request waits for the batch that is being committed, and then at most `LINGER_S` for as much company as there lately
was: who was answered together comes together again. What is waiting is bounded, so a slow store makes callers try again
later and never fills the memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from adapters.database import STORE_ERRORS, kind_of
from adapters.log.append import Appended, append
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.records import Entry
from runtime.errors import Overloaded, StoreUnavailable
from runtime.failpoints import failpoint

LINGER_S: Final = 0.005
MAX_BATCH: Final = 5_000
#: What may wait: entries, and bytes of their states.
MAX_WAITING: Final = 50_000
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024
#: How many entries and bytes a large request of the tracking API has.
USUAL_REQUEST: Final = 2_500
USUAL_REQUEST_BYTES: Final = 1024 * 1024
RETRY_AFTER_S: Final = 1
#: So long a commit is waited for before its callers, and all behind them, are told to try again, in seconds: longer
#: than PostgreSQL itself lets an append wait for a lock (`adapters.database.LOCK_TIMEOUT_MS`).
ANSWER_WITHIN_S: Final = 15.0
_NO_ANSWER: Final = (OperationalError, psycopg.OperationalError)

log = structlog.get_logger("append")


class _Waiting(NamedTuple):
    entries: Sequence[Entry]
    done: asyncio.Future[list[Appended]]


def _turn_away(several: Sequence[_Waiting]) -> None:
    for one in several:
        if not one.done.done():
            one.done.set_exception(StoreUnavailable(RETRY_AFTER_S))


class GroupCommit:
    """Appends to the log for many callers at once, by the identity rules in force. Belongs to one event loop; `run` has
    to be running."""

    def __init__(self, engine: Engine, rules: Callable[[], Rules] = lambda: DEFAULT_RULES) -> None:
        self._engine = engine
        self._rules = rules
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="append")

    async def append(self, entries: Sequence[Entry]) -> list[Appended]:
        """Where each entry stands, once that is durable. Raises `Overloaded` or `StoreUnavailable`, and
        then the caller does not know more than that it may hand in the same entries again."""
        if not entries:
            return []
        size = sum(len(entry.state) for entry in entries)
        if self._waiting + len(entries) > MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise Overloaded(RETRY_AFTER_S)
        done: asyncio.Future[list[Appended]] = asyncio.get_running_loop().create_future()
        self._waiting += len(entries)
        self._waiting_bytes += size
        try:
            self._queue.put_nowait(_Waiting(entries, done))
            return await done
        finally:
            self._waiting -= len(entries)
            self._waiting_bytes -= size

    def full(self) -> bool:
        """Whether a usual request would find no room now."""
        return (
            self._waiting > MAX_WAITING - USUAL_REQUEST
            or self._waiting_bytes > MAX_WAITING_BYTES - USUAL_REQUEST_BYTES
        )

    async def run(self) -> None:
        """Commits batch after batch until it is cancelled."""
        loop = asyncio.get_running_loop()
        company = 1
        while True:
            # Of who comes no more an eighth is forgotten at a time: whoever is left alone soon waits for nobody.
            batch = await self._gather(company)
            company = max(len(batch), company * 7 // 8)
            entries = [entry for waiting in batch for entry in waiting.entries]
            committing = loop.run_in_executor(self._thread, self._commit, entries)
            while not (await asyncio.wait([committing], timeout=ANSWER_WITHIN_S))[0]:
                # What becomes of the batch shows when its callers hand it in again.
                log.warning("the store says nothing", seconds=ANSWER_WITHIN_S, entries=len(entries))
                _turn_away([*batch, *self._all_waiting()])
            try:
                appended = committing.result()
            except STORE_ERRORS as error:
                log.warning("append failed", error=kind_of(error), entries=len(entries))
                # Where the store does not answer, those behind would wait in vain, and one after the other.
                behind = self._all_waiting() if isinstance(error, _NO_ANSWER) else []
                _turn_away([*batch, *behind])
                continue
            at = 0
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(appended[at : at + len(waiting.entries)])
                at += len(waiting.entries)

    def _all_waiting(self) -> list[_Waiting]:
        found = []
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return found

    async def _gather(self, company: int) -> list[_Waiting]:
        """What waits, and of what comes within `LINGER_S` as much as makes it `company` requests."""
        batch = [await self._queue.get()]
        count = len(batch[0].entries)
        deadline = asyncio.get_running_loop().time() + LINGER_S
        while count < MAX_BATCH:
            if self._queue.empty():
                left = deadline - asyncio.get_running_loop().time()
                if len(batch) >= company or left <= 0:
                    break
                try:
                    waiting = await asyncio.wait_for(self._queue.get(), left)
                except TimeoutError:
                    break
            else:
                waiting = self._queue.get_nowait()
            batch.append(waiting)
            count += len(waiting.entries)
        return batch

    def _commit(self, entries: list[Entry]) -> list[Appended]:
        failpoint("append.before")
        with self._engine.begin() as connection:
            appended = append(connection, entries, rules=self._rules()).appended
            failpoint("append.before_commit")
        failpoint("append.committed")
        return appended
