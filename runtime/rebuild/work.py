"""The parts of a rebuild that run side by side: a stretch scanned, a stretch routed, a shard folded, a
table given its indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from adapters.database import open_database
from adapters.keys.management import KeyManagement
from adapters.log.read import driver_of, read_rows, read_sources
from adapters.projections.definitions import DefinitionChange
from adapters.projections.load import (
    copy_into,
    identity_rows,
    membership_rows,
    outbound_rows,
    profile_rows,
)
from adapters.projections.people import load_all_gone, seal_profiles
from adapters.projections.schema import REBUILT
from adapters.projections.shadow import index_shadow
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
PROJECTIONS: Final = tuple(table.name for table in REBUILT)
TABLES: Final = (*PROJECTIONS, "checkpoint")
_PAGE: Final = 5_000


class Setting(NamedTuple):
    """What every part of a rebuild knows. `people` is false where identities are not asked for, and `comparing` where
    nobody asks whether what has followed is in the log; by `secret` the files are sealed; `erasures` is how many there
    had been when it began."""

    url: str
    keys: KeyManagement | None
    secret: bytes
    erasures: int
    home: Path
    goal: int
    range_rows: int
    people: bool
    comparing: bool

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
        scan = Scan(self._setting.people, self._store.heard())
        while after < last:
            with self._engine.connect() as connection:
                if self._setting.comparing:
                    page = read_rows(connection, after, _PAGE, last)
                    after = page[-1].position
                else:
                    page, after = read_sources(connection, after, _PAGE, last)
            for row in page:
                scan.add(row)
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

        fold = ShardFold(
            plans, clock, self._setting.goal, self._gone, apart, past, comparing=self._setting.comparing
        )
        rows = 0
        for rows, row in enumerate(past(), 1):  # noqa: B007
            fold.take(*row)
        fold.finish()
        with self._engine.begin() as connection:
            _write(connection, shard, fold)
            failpoint("rebuild.before_shard")
        return rows

    def index(self, number: int) -> int:
        """Makes the indexes of one table."""
        with self._engine.begin() as connection:
            index_shadow(connection, SCHEMA, [TABLES[number]])
        return 0

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
    if lone := fold.comparing.lone():
        write_followed(connection, lone)
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
