"""The parts of a rebuild that run side by side: a stretch scanned, a stretch routed, a shard folded."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from adapters.database import open_database
from adapters.keys.management import KeyManagement
from adapters.log.read import driver_of, read_rows
from adapters.projections.definitions import DefinitionChange
from adapters.projections.load import (
    copy_into,
    identity_rows,
    membership_rows,
    outbound_rows,
    profile_rows,
)
from adapters.projections.people import load_all_gone, seal_profiles
from runtime.embedded.die_with_parent import PR_SET_PDEATHSIG
from runtime.failpoints import failpoint
from runtime.rebuild.clock import Clock
from runtime.rebuild.components import Shards
from runtime.rebuild.fold import Lone, ShardFold
from runtime.rebuild.plans import Plans
from runtime.rebuild.scan import Scan
from runtime.rebuild.store import Store
from runtime.rebuild.taken_in import ShardRow

#: The schema in which a rebuild has its tables until they take the live ones' place.
SCHEMA: Final = "roundtrip_rebuild"
_PAGE: Final = 5_000


class Setting(NamedTuple):
    """What every part of a rebuild knows. `people` is false where identities are not asked for; by `secret`
    the files are sealed; `erasures` is how many there had been when it began."""

    url: str
    keys: KeyManagement | None
    secret: bytes
    erasures: int
    home: Path
    goal: int
    range_rows: int
    people: bool

    @property
    def ranges(self) -> range:
        return range(-(-self.goal // self.range_rows))


class Worker:
    """One process's hands: its connection, and what it has read in for the shards."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._engine: Engine = open_database(
            setting.url, application="rebuild", keys=setting.keys, pool_size=1
        )
        self._store = Store(setting.home, setting.secret)
        self._folding: tuple[Plans, Clock, frozenset[int]] | None = None
        self._shards: Shards | None = None
        self._gone: dict[str, int] | None = None

    def close(self) -> None:
        self._engine.dispose()

    def scan(self, number: int) -> int:
        """Reads one stretch of the log; how many rows it has."""
        after = number * self._setting.range_rows
        last = min(after + self._setting.range_rows, self._setting.goal)
        rows = last - after
        scan = Scan(self._setting.people)
        while after < last:
            with self._engine.connect() as connection:
                page = read_rows(connection, after, _PAGE, last)
            for row in page:
                scan.add(row)
            after = page[-1].position
        self._store.save_scan(number, scan)
        return rows

    def route(self, number: int) -> int:
        """Puts one stretch into order of shards."""
        self._store.route(number, self._known_shards())
        return 0

    def fold(self, shard: int) -> int:
        """Folds one shard and writes its part of the tables; how many rows it had."""
        if self._folding is None:
            self._folding = (Plans(changes_of(self._store)), self._store.clock(), self._store.apart())
        if self._gone is None:
            with self._engine.begin() as connection:
                self._gone = load_all_gone(connection)
        plans, clock, apart = self._folding
        shards = self._known_shards().count

        def past() -> Iterator[ShardRow]:
            return self._store.rows_of(shard, shards, self._setting.ranges)

        fold = ShardFold(plans, clock, self._setting.goal, self._gone, apart, past)
        rows = 0
        for rows, row in enumerate(past(), 1):  # noqa: B007
            fold.take(*row)
        fold.finish()
        with self._engine.begin() as connection:
            _write(connection, shard, fold)
            failpoint("rebuild.before_shard")
        return rows

    def _known_shards(self) -> Shards:
        if self._shards is None:
            self._shards = self._store.load_shards()
        assert self._shards is not None, "shards are made before they are used"
        return self._shards


def changes_of(store: Store) -> list[DefinitionChange]:
    """The definitions that the log declares up to the goal, in order."""
    return msgspec.msgpack.decode(store.changes(), type=list[DefinitionChange])


def _write(connection: Connection, shard: int, fold: ShardFold) -> None:
    profiles = fold.profiles.values()
    copy_into(connection, SCHEMA, "identity", identity_rows(fold.state.graph))
    copy_into(connection, SCHEMA, "profile", profile_rows(profiles, seal_profiles(connection, profiles)))
    copy_into(connection, SCHEMA, "membership", membership_rows(profiles))
    copy_into(connection, SCHEMA, "outbound", outbound_rows(fold.outbound))
    write_followed(connection, fold.comparing.lone())
    driver_of(connection).execute(f"INSERT INTO {SCHEMA}.rebuilt_shard (shard) VALUES (%s)", (shard,))  # noqa: S608


def write_followed(connection: Connection, lone: Iterable[Lone]) -> None:
    """Notes derived records that have no counterpart yet."""
    with (
        driver_of(connection)
        .cursor()
        .copy(f"COPY {SCHEMA}.followed (id, logged, topic, profile, position, digest) FROM STDIN") as copy
    ):
        for one in lone:
            copy.write_row(one)


Part = Callable[[str, Iterable[int]], Iterator[int]]


@contextmanager
def workers(setting: Setting, jobs: int) -> Iterator[Part]:
    """Has parts done by so many processes: `part(name, numbers)` yields how many rows each of them had."""
    if jobs == 1:
        worker = Worker(setting)
        gc.disable()
        try:
            yield lambda name, numbers: (_collected(getattr(worker, name)(number)) for number in numbers)
        finally:
            gc.enable()
            worker.close()
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _open, (setting, os.getpid()))
    try:
        yield lambda name, numbers: _spread(pool, jobs, name, numbers)
    finally:
        pool.shutdown(cancel_futures=True)


def _spread(pool: ProcessPoolExecutor, jobs: int, name: str, numbers: Iterable[int]) -> Iterator[int]:
    """A few parts are in work, and no more, however many there are."""
    waiting: set[Any] = set()
    for number in numbers:
        with _nothing_to_import():
            waiting.add(pool.submit(_do, name, number))
        if len(waiting) > jobs:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    for future in waiting:
        yield future.result()


@contextmanager
def _nothing_to_import() -> Iterator[None]:
    """A new process imports what it is given to do. The whole console script, which it would import too as its
    main module, takes seconds and 100 MB."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_worker: Worker | None = None


def _open(setting: Setting, parent: int) -> None:
    global _worker
    if sys.platform == "linux":
        # Whoever kills the command must not leave its hands behind.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    _worker = Worker(setting)


def _do(name: str, number: int) -> int:
    assert _worker is not None
    rows: int = getattr(_worker, name)(number)
    return _collected(rows)


def _collected(rows: int) -> int:
    """Between parts, since the collector would walk the whole state again and again during one."""
    gc.collect()
    return rows
