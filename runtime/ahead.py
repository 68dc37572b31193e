"""A process of its own looks at the next people while the former are written: two processors are at work then.

It begins anew wherever it is asked for others than the next, as after a transaction that failed. Where it ends by
itself, or where there are few people, the caller's process looks at them.
"""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from sqlalchemy import Connection, text

from adapters.database import open_database
from adapters.keys.management import KeyManagement
from adapters.projections.definitions import load_workspace
from runtime.child_process import end_with_parent, nothing_to_import
from runtime.collector import spare_the_collector
from runtime.definitions import plan_of
from runtime.look_anew import Change, Look, Looked

if TYPE_CHECKING:
    from adapters.history.tables import History

#: With fewer people than these it takes longer to start the process.
WORTH_IT: Final = 50_000

log = structlog.get_logger("pipeline")


class Place(NamedTuple):
    """Where the process finds what it reads."""

    url: str
    keys: KeyManagement
    history: History


class Ahead:
    """Looks at people of one change at a time."""

    def __init__(self, place: Place, worth_it: int = WORTH_IT) -> None:
        self._place = place
        self._worth_it = worth_it
        self._change: Change | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._next: tuple[int, Future[Looked | None]] | None = None

    def at(self, connection: Connection, look: Look, change: Change, after: int) -> Looked | None:
        """As `Look.at`."""
        if change != self._change:
            self.close()
            self._change = change
            if _as_many(connection, self._worth_it):
                self._pool = _start(self._place, change)
        if self._pool is not None:
            try:
                return self._taken(self._pool, after)
            except BrokenProcessPool:
                log.warning("the process that looked at people has ended; this one goes on")
                self._stop()
        return look.at(connection, after)

    def _taken(self, pool: ProcessPoolExecutor, after: int) -> Looked | None:
        if self._next is None or self._next[0] != after:
            self._next = after, _submitted(pool, after)
        looked = self._next[1].result()
        self._next = None if looked is None else (looked.last, _submitted(pool, looked.last))
        return looked

    def close(self) -> None:
        """Ends the process."""
        self._stop()
        self._change = None

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._next = None


def _as_many(connection: Connection, people: int) -> bool:
    """Whether there are at least so many people."""
    found = connection.execute(
        text("SELECT count(*) FROM (SELECT FROM profile LIMIT :most) p"), {"most": people}
    )
    return int(found.scalar_one()) >= people


def _start(place: Place, change: Change) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), _open, (place, change, os.getpid()))


def _submitted(pool: ProcessPoolExecutor, after: int) -> Future[Looked | None]:
    with nothing_to_import():
        return pool.submit(_look_at, after)


class _Hands:
    """What the process works with, from its first task on."""

    def __init__(self, place: Place, change: Change) -> None:
        # Every part imports this module, and only this process needs the lake.
        from runtime.backfill import LakeBackfill

        self._engine = open_database(place.url, application="pipeline, ahead", keys=place.keys, pool_size=1)
        with self._engine.connect() as connection:
            plan = plan_of(load_workspace(connection))
        self._look = Look(plan, change, LakeBackfill(place.history))

    def at(self, after: int) -> Looked | None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return self._look.at(connection, after)


_hands: _Hands | None = None


def _open(place: Place, change: Change, parent: int) -> None:
    global _hands
    end_with_parent(parent)
    spare_the_collector()
    _hands = _Hands(place, change)


def _look_at(after: int) -> Looked | None:
    assert _hands is not None
    return _hands.at(after)
