"""A rebuild from its first look at the log to tables that stand at one position, beside the live ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray
from psycopg.types.json import Jsonb
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, text

from adapters.keys.local import KEY_BYTES
from adapters.keys.management import KeyManagement, KeysMissingError
from adapters.log.read import driver_of, read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import as_stored
from adapters.projections.shadow import create_shadow, drop_shadow
from adapters.projections.subjects import IndexBehindError
from domain.records import Row
from runtime.definitions import Definitions
from runtime.effect import SETTLED
from runtime.past import plans_upto
from runtime.pipeline import CHECKPOINT
from runtime.rebuild.components import Keys, Shards, components, shard_count, united, united_pairs
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.passing import EVERYTHING, Heard, all_heard
from runtime.rebuild.plans import Plans, change_at
from runtime.rebuild.processes import Parts, workers
from runtime.rebuild.store import Manifest, Store, boot_id, code_digest, manifest_in
from runtime.rebuild.work import PROJECTIONS, SCHEMA, TABLES, Setting, changes_of

PEOPLE: Final = ("profile", "identity", "membership")
#: Rows of the log in one stretch, which one process scans at a time.
RANGE_ROWS: Final = 20_000
_LOCK: Final = 0x72656275

Progress = Callable[[int, int], None]


class Task(NamedTuple):
    """What is to be rebuilt, and how. `goal` is a position; where it is not given, the live pipeline's."""

    url: str
    keys: KeyManagement | None
    home: Path
    projections: Sequence[str] = PROJECTIONS
    goal: int | None = None
    jobs: int = 1
    range_rows: int = RANGE_ROWS
    #: Whether the log's own derived records are compared with those derived again.
    comparing: bool = False


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Raises `RebuildError` where another rebuild is at work in this database."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar():
            raise RebuildError("another rebuild is at work in this database; let it end, or end it")
        yield
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})


def fold_log(
    engine: Engine, task: Task, definitions: Definitions, progress: Progress
) -> tuple[Setting, Store]:
    """Folds the log up to the goal into tables in `SCHEMA`, or goes on with that where it was killed."""
    setting = _begin(engine, task)
    store = Store(task.home, setting.secret)
    goal = setting.goal
    with workers(setting, task.jobs) as parts:
        done = 0

        def report(rows: int) -> None:
            nonlocal done
            done += rows
            progress(min(done // 2, goal), goal)

        report(0)
        if not store.knows_heard():
            store.save_heard(_heard(engine, goal, definitions))
        while (shards := store.load_shards()) is None:
            _scan(setting, store, parts, report)
            _deal(engine, setting, store, definitions, task.jobs)
        left = [number for number in setting.ranges if not store.routed(number)]
        for _ in parts("route", left):
            pass
        _fold(engine, shards.count, parts, report)
        for _ in parts("index", range(len(TABLES))):
            pass
    _finish(engine, store, goal)
    progress(goal, goal)
    return setting, store


def _begin(engine: Engine, task: Task) -> Setting:
    if task.keys is None:
        raise KeysMissingError("a rebuild reads personal data, and there is no master key")
    people = any(name in PEOPLE for name in task.projections)
    with engine.begin() as connection:
        live, head = read_checkpoint(connection, CHECKPOINT), read_head(connection).position
        goal = live if task.goal is None else task.goal
        if goal > head:
            raise RebuildError(f"position {goal} is not in the log yet: it ends at {head}")
        now = erasures(connection)
        held, secret = manifest_in(task.home), None
        if held is not None and held.erasures == now and _same(held, task, people, live):
            secret = _secret(connection, task.keys, held.token)
        if held is None or secret is None:
            as_of = task.goal is not None
            boot, code = boot_id(), code_digest()
            held = Manifest(
                uuid4().hex, goal, as_of, people, task.comparing, task.range_rows, now, boot, code
            )
            secret = os.urandom(KEY_BYTES)
            Store(task.home, secret).begin(held)
            create_shadow(connection, SCHEMA, TABLES)
            _create_notes(connection, held.token, task.keys.wrap(_context(held.token), secret))
    return Setting(
        task.url, task.keys, secret, now, task.home, held.goal, held.range_rows, held.people, held.comparing
    )


def erasures(connection: Connection) -> int:
    """How many persons were erased so far. A rebuild that began before one knows too much."""
    row = driver_of(connection).execute("SELECT erasures FROM log_head").fetchone()
    return int(row[0]) if row else 0


def _same(held: Manifest, task: Task, people: bool, live: int) -> bool:
    goal = held.goal <= live if task.goal is None else held.goal == task.goal
    known = held.comparing or not task.comparing
    return goal and known and held.as_of == (task.goal is not None) and held.people == people


def _context(token: str) -> bytes:
    """What the key of a rebuild's files is wrapped for."""
    return b"rebuild:" + token.encode()


def _create_notes(connection: Connection, token: str, wrapped: bytes) -> None:
    """Tables of the rebuild's own: which one this is, the shards that are done, and derived records without
    a counterpart."""
    driver = driver_of(connection)
    driver.execute(
        f"CREATE TABLE {SCHEMA}.rebuild (token text NOT NULL, wrapped bytea NOT NULL, finished boolean NOT NULL)"
    )
    driver.execute(f"INSERT INTO {SCHEMA}.rebuild VALUES (%s, %s, false)", (token, wrapped))  # noqa: S608
    driver.execute(f"CREATE TABLE {SCHEMA}.rebuilt_shard (shard integer PRIMARY KEY)")
    driver.execute(
        f"CREATE TABLE {SCHEMA}.followed (id uuid NOT NULL, logged boolean NOT NULL, topic text NOT NULL,"
        " profile uuid NOT NULL, position bigint NOT NULL, digest bytea NOT NULL)"
    )


def _secret(connection: Connection, keys: KeyManagement, token: str) -> bytes | None:
    """The key of the files that a rebuild left, `None` where its tables are gone."""
    driver = driver_of(connection)
    [there] = driver.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.rebuild",)).fetchone() or [None]
    if there is None:
        return None
    row = driver.execute(f"SELECT wrapped FROM {SCHEMA}.rebuild WHERE token = %s", (token,)).fetchone()  # noqa: S608
    return keys.unwrap(_context(token), row[0]) if row else None


def _scan(setting: Setting, store: Store, parts: Parts, report: Callable[[int], None]) -> None:
    left = [number for number in setting.ranges if not store.scanned(number)]
    full = setting.range_rows
    report(setting.goal - sum(min(full, setting.goal - number * full) for number in left))
    for rows in parts("scan", left):
        report(rows)


def _heard(engine: Engine, goal: int, definitions: Definitions) -> Heard:
    """The events that anything up to the goal asks for, as far as the index of the log by subject tells."""
    with engine.connect() as connection:
        try:
            return plans_upto(connection, goal, definitions.change_of).heard
        except (IndexBehindError, ValidationError):
            # Definitions of which the index lacks some may not fit together.
            return EVERYTHING


def _deal(engine: Engine, setting: Setting, store: Store, definitions: Definitions, jobs: int) -> None:
    """Puts together what the scans have found: components and their shards, the log's time, definitions.

    An index is no truth: where it lacks a definition that is in the log, all is to be scanned again.
    """
    nodes: Keys = np.empty(0, np.uint64)
    edges: Keys = np.empty((0, 2), np.uint64)
    clock: list[NDArray[np.int64]] = []
    declared: list[Row] = []
    apart: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    last, rows = 0, 0
    for number in setting.ranges:
        scan = store.load_scan(number)
        nodes = united(nodes, scan["nodes"])
        edges = united_pairs(edges, scan["edges"])
        times = scan["clock"][scan["clock"][:, 0] > last]
        if len(times):
            clock.append(times)
            last = int(times[-1, 0])
        declared += store.definitions(scan)
        apart.append(scan["apart"])
        rows += len(scan["positions"])
    with engine.begin() as connection:
        changes = [as_stored(connection, change_at(row, definitions.change_of)) for row in declared]
    heard = Plans(changes).heard
    if not all_heard(heard, store.heard()):
        store.save_heard(heard)
        return
    store.save_apart(np.concatenate(apart))
    store.save_changes(msgspec.msgpack.encode(changes))
    shards = Shards(nodes, components(nodes, edges), shard_count(len(nodes), rows, jobs))
    store.save_shards(shards, clock)


def _fold(engine: Engine, shards: int, parts: Parts, report: Callable[[int], None]) -> None:
    with engine.connect() as connection:
        rows = driver_of(connection).execute(f"SELECT shard FROM {SCHEMA}.rebuilt_shard").fetchall()  # noqa: S608
    done = {shard for (shard,) in rows}
    for count in parts("fold", [shard for shard in range(shards) if shard not in done]):
        report(count)


def _finish(engine: Engine, store: Store, goal: int) -> None:
    """What is no shard's: the definitions and the checkpoint."""
    with engine.begin() as connection:
        driver = driver_of(connection)
        row = driver.execute(f"SELECT finished FROM {SCHEMA}.rebuild").fetchone()  # noqa: S608
        if row is not None and row[0]:
            return
        plans = Plans(changes_of(store))
        rows = [(k, n, Jsonb(body), at) for (k, n), (body, at) in plans.declared().items()]
        with driver.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {SCHEMA}.definition VALUES (%s, %s, %s, %s)", rows)  # noqa: S608
        driver.execute(f"INSERT INTO {SCHEMA}.checkpoint VALUES (%s, %s)", (CHECKPOINT, goal))  # noqa: S608
        settled = plans.last_effect
        driver.execute(f"INSERT INTO {SCHEMA}.checkpoint VALUES (%s, %s)", (SETTLED, settled))  # noqa: S608
        driver.execute(f"UPDATE {SCHEMA}.rebuild SET finished = true")  # noqa: S608


def discard(engine: Engine, store: Store) -> None:
    """Removes everything that a rebuild has made."""
    with engine.begin() as connection:
        drop_shadow(connection, SCHEMA)
    store.remove()
