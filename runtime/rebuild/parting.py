"""Where live and rebuilt state part: the history of what differs is folded again, moment by moment.

A state is taken apart into facts. A fact that only the rebuilt state has is missing in the live one since the
position at which it came to be; one that only the live state has should have gone at the position at which it
went from the rebuilt one. The first of these positions is where the two part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection

from adapters.log.read import driver_of, read_rows
from adapters.projections.definitions import DefinitionChange
from adapters.projections.people import load_graph, load_profiles
from domain.profiles import Profile
from runtime.rebuild.compare import Comparison
from runtime.rebuild.components import Shards
from runtime.rebuild.fold import ShardFold
from runtime.rebuild.plans import Plans, change_at
from runtime.rebuild.scan import Kind, Scan, key_of
from runtime.rebuild.store import Store
from runtime.rebuild.taken_in import ShardRow
from runtime.rebuild.work import Setting

_PAGE = 5_000
_PEOPLES = (Kind.RECORD, Kind.PASSING, Kind.UNMERGE, Kind.MESSAGE, Kind.CLOSED, Kind.TOLD)
Fact = tuple[str, ...]


class Parting(NamedTuple):
    """The first of those that differ, and the position from which on it does; 0 where no position explains it."""

    what: str
    id: str
    position: int

    def __str__(self) -> str:
        where = f"at position {self.position}" if self.position else "from no position of the log"
        return f"first to part: {self.what} {self.id}, {where}"


class Tail(NamedTuple):
    """What the log has above the goal, up to where live and rebuilt tables were compared."""

    scan: Scan
    changes: Sequence[DefinitionChange]
    position: int


def scan_tail(connection: Connection, goal: int, position: int, change_of: Any) -> Tail:
    """Reads the rows above the goal into memory: they are few."""
    scan, after = Scan(), goal
    while after < position and (rows := read_rows(connection, after, _PAGE, position)):
        for row in rows:
            scan.add(row)
        after = rows[-1].position
    return Tail(scan, [change_at(row, change_of) for row in scan.definitions], max(goal, position))


class History:
    """The log by components: the shards' files, and the tail."""

    def __init__(
        self, setting: Setting, store: Store, changes: Sequence[DefinitionChange], tail: Tail
    ) -> None:
        self._setting = setting
        self._store = store
        shards = store.load_shards()
        assert shards is not None, "shards are made before anything is compared"
        self._shards: Shards = shards
        self._tail = tail
        self._plans = Plans([*changes, *tail.changes])
        self._clock = store.clock().and_then(tail.scan.clock)
        self._apart = store.apart() | frozenset(tail.scan.apart)

    def of_person(self, id: str) -> list[ShardRow]:
        """The rows of a node's component, in order."""
        labels, keys = self._reach(key_of(id))
        rows = [
            row
            for label in labels
            for row in self._store.rows_of(
                self._shards.of_label(label), self._shards.count, self._setting.ranges, label
            )
            if row.kind in _PEOPLES
        ]
        return sorted([*rows, *self._tail_rows(_PEOPLES, labels, keys)])

    def of_outbound(self, id: str) -> list[ShardRow]:
        """The rows of outbound records that are in one shard with this one."""
        kinds = (Kind.REQUESTED, Kind.OUTCOME)
        [shard] = self._shards.of(np.array([key_of(id)], dtype=np.uint64)).tolist()
        rows = [
            row
            for row in self._store.rows_of(int(shard), self._shards.count, self._setting.ranges)
            if row.kind in kinds
        ]
        return [*rows, *self._tail_rows(kinds, (), {key_of(id)})]

    def moments(self, rows: Iterable[ShardRow]) -> Iterator[tuple[int, ShardFold]]:
        """The fold after each thing that changes something, and the position at which that was."""
        rows = list(rows)
        fold = ShardFold(self._plans, self._clock, self._tail.position, apart=self._apart, past=lambda: rows)
        for row in rows:
            for position in fold.pass_time(row.position):
                yield position, fold
            fold.take(*row)
            yield row.position, fold
        for position in fold.pass_time(self._tail.position + 1):
            yield position, fold

    def _reach(self, key: int) -> tuple[set[int], set[int]]:
        """The components that a node is in, those that the tail has joined to it, and their nodes in the tail."""
        labels, keys = {self._label(key)} - {-1}, {key}
        while True:
            found = {
                k for edge in self._tail.scan.edges if self._meets(edge, labels, keys) for k in edge
            } - keys
            if not found:
                return labels, keys
            keys |= found
            labels |= {self._label(each) for each in found} - {-1}

    def _meets(self, edge: tuple[int, int], labels: set[int], keys: set[int]) -> bool:
        return any(key in keys or self._label(key) in labels for key in edge)

    def _tail_rows(self, kinds: Collection[int], labels: Collection[int], keys: set[int]) -> list[ShardRow]:
        return [
            ShardRow(position, recorded_at, kind, state)
            for position, recorded_at, kind, key, state in self._tail.scan.rows
            if kind in kinds and (key in keys or (labels and self._label(key) in labels))
        ]

    def _label(self, key: int) -> int:
        return int(self._shards.labels_of(np.array([key], dtype=np.uint64))[0])


def first_parting(connection: Connection, history: History, tables: Iterable[Comparison]) -> Parting | None:
    """Of the rows that differ the first to part, `None` where nothing does that has a history."""
    found = []
    for what, id in dict.fromkeys(_differing(tables)):
        rows = history.of_outbound(id) if what == "outbound" else history.of_person(id)
        found.append(Parting(what, id, _part(history, rows, what, id, _live_facts(connection, what, id))))
    return min(found, key=lambda one: one.position, default=None)


def _differing(tables: Iterable[Comparison]) -> Iterator[tuple[str, str]]:
    for table in tables:
        for difference in table.differences:
            if table.projection == "outbound":
                yield "outbound", str(difference.key["id"])
            elif table.projection in ("profile", "membership"):
                yield "profile", str(difference.key["profile"])
            elif table.projection == "identity":
                yield "identity", str(difference.key["node"])


def _part(history: History, rows: Iterable[ShardRow], what: str, id: str, live: set[Fact]) -> int:
    came: dict[Fact, int] = {}
    went: dict[Fact, int] = {}
    now: set[Fact] = set()
    for position, fold in history.moments(rows):
        then, now = now, _facts(fold, what, id)
        came.update((fact, position) for fact in now - then)
        went.update((fact, position) for fact in then - now)
    parted = [came[fact] for fact in now - live] + [went[fact] for fact in live - now if fact in went]
    return min(parted, default=0)


def _facts(fold: ShardFold, what: str, id: str) -> set[Fact]:
    if what == "outbound":
        held = fold.outbound.get(id)
        return set() if held is None else {(what, repr(tuple(held)))}
    if what == "identity":
        holder = fold.state.graph.get(id)
        return set() if holder is None else {(what, holder)}
    profile = fold.live(id)
    return set() if profile is None else set(_facts_of(profile, memberships_of(profile)))


def memberships_of(profile: Profile) -> list[tuple[str, int, int]]:
    return [(audience, since.position, since.at) for audience, since in profile.memberships.items()]


def _live_facts(connection: Connection, what: str, id: str) -> set[Fact]:
    if what == "identity":
        return {(what, holder) for holder in load_graph(connection, [id]).values()}
    driver = driver_of(connection)
    if what == "outbound":
        rows = driver.execute(
            "SELECT connection, batch::text, position, status, attempts FROM outbound WHERE id = %s", (id,)
        ).fetchall()
        return {(what, repr(row)) for row in rows}
    members = driver.execute(
        "SELECT audience, position, entered_at FROM membership WHERE profile = %s", (id,)
    ).fetchall()
    profile = load_profiles(connection, [id]).get(id)
    return set(_facts_of(profile, members)) if profile else {_member(*member) for member in members}


def _facts_of(profile: Profile, members: Iterable[tuple[str, int, int]]) -> Iterator[Fact]:
    for name in profile.__struct_fields__:
        yield from _flat((name,), getattr(profile, name))
    for member in members:
        yield _member(*member)


def _member(audience: str, position: int, at: int) -> Fact:
    return ("membership", audience, str(position), str(at))


def _flat(path: Fact, value: Any) -> Iterator[Fact]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _flat((*path, str(name)), each)
    elif isinstance(value, list) and value and isinstance(value[0], list):
        for each in value:
            yield from _flat(path, each)
    else:
        yield (*path, repr(value))
