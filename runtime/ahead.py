"""Processes of their own look at the next people, each at a part of them, while the former are written.

They begin anew wherever they are asked for others than the next, as after a transaction that failed. Where one ends by
itself, or where there are few people, the caller's process looks at them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
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
from runtime.look_anew import PARTS, Change, Look, Looked, Part

if TYPE_CHECKING:
    from adapters.history.tables import History

#: With fewer people than these it takes longer to start the processes.
WORTH_IT: Final = 50_000

log = structlog.get_logger("pipeline")


class Place(NamedTuple):
    """Where the processes find what they read."""

    url: str
    keys: KeyManagement
    history: History


class Ahead:
    """Looks at people of one change at a time."""

    def __init__(self, place: Place, worth_it: int = WORTH_IT) -> None:
        self._place = place
        self._worth_it = worth_it
        self._change: Change | None = None
        self._pools: dict[Part, ProcessPoolExecutor] = {}
        self._next: dict[Part, tuple[int, Future[Looked]]] = {}

    def at(self, connection: Connection, look: Look, change: Change, left: Mapping[Part, int]) -> Looked:
        """As `Look.at`, of any of the parts."""
        if change != self._change:
            self.close()
            self._change = change
            if _as_many(connection, self._worth_it):
                self._pools = {part: _start(self._place, change, part) for part in PARTS}
        if self._pools:
            try:
                return self._taken(left)
            except BrokenProcessPool:
                log.warning("a process that looked at people has ended; this one goes on")
                self._stop()
        return look.at(connection, left)

    def _taken(self, left: Mapping[Part, int]) -> Looked:
        """Of the part of which it is there first."""
        for part, after in left.items():
            if part not in self._next or self._next[part][0] != after:
                self._next[part] = after, _submitted(self._pools[part], part, after)
        done, _ = wait([self._next[part][1] for part in left], return_when=FIRST_COMPLETED)
        part = next(part for part in left if self._next[part][1] in done)
        looked = self._next.pop(part)[1].result()
        if looked.last < part.last:
            self._next[part] = looked.last, _submitted(self._pools[part], part, looked.last)
        return looked

    def close(self) -> None:
        """Ends the processes."""
        self._stop()
        self._change = None

    def _stop(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools, self._next = {}, {}


def _as_many(connection: Connection, people: int) -> bool:
    """Whether there are at least so many people."""
    found = connection.execute(
        text("SELECT count(*) FROM (SELECT FROM profile LIMIT :most) p"), {"most": people}
    )
    return int(found.scalar_one()) >= people


def _start(place: Place, change: Change, part: Part) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), _open, (place, change, part, os.getpid()))


def _submitted(pool: ProcessPoolExecutor, part: Part, after: int) -> Future[Looked]:
    with nothing_to_import():
        return pool.submit(_look_at, part, after)


class _Hands:
    """What such a process works with, from its first task on."""

    def __init__(self, place: Place, change: Change, part: Part) -> None:
        # Every part of the system imports this module, and only these processes need the lake.
        from runtime.backfill import LakeBackfill

        self._engine = open_database(place.url, application="pipeline, ahead", keys=place.keys, pool_size=1)
        with self._engine.connect() as connection:
            plan = plan_of(load_workspace(connection))
        self._look = Look(plan, change, LakeBackfill(place.history, part.between))

    def at(self, part: Part, after: int) -> Looked:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return self._look.at(connection, {part: after})


_hands: _Hands | None = None


def _open(place: Place, change: Change, part: Part, parent: int) -> None:
    global _hands
    end_with_parent(parent)
    spare_the_collector()
    _hands = _Hands(place, change, part)


def _look_at(part: Part, after: int) -> Looked:
    assert _hands is not None
    return _hands.at(part, after)
