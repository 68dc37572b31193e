"""Runs of declared imports, up to when each schedule is done, and which rows the last run of a query saw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from adapters.log.driver import driver_of

_COLUMNS = "id::text, import, due, started_at, ended_at, outcome, taken, known, rejected, reason"


class Run(NamedTuple):
    """One run. Times are in microseconds; `outcome` is `running`, `finished` or `failed`."""

    id: str
    name: str
    due: int
    started_at: int
    ended_at: int | None = None
    outcome: str = "running"
    taken: int = 0
    known: int = 0
    rejected: int = 0
    reason: str = ""


class SupersededError(Exception):
    """Another process has begun this run anew: whoever meets this stops, and its batch is not kept."""


def begin_run(connection: Connection, run: Run) -> None:
    """Begins a run, or begins it anew; its schedule is done up to when it was due."""
    driver = driver_of(connection)
    driver.execute(
        "INSERT INTO import_run (id, import, due, started_at, outcome) VALUES (%s, %s, %s, %s, 'running')"
        " ON CONFLICT (id) DO UPDATE SET started_at = excluded.started_at, outcome = 'running'",
        run[:4],
    )
    driver.execute(
        "UPDATE import_schedule SET done_until = greatest(done_until, %s) WHERE import = %s",
        (run.due, run.name),
    )


def require_run(connection: Connection, run: Run) -> None:
    """Raises `SupersededError` where this is no longer the run's latest beginning."""
    found = driver_of(connection).execute(
        "SELECT 1 FROM import_run WHERE id = %s AND started_at = %s AND outcome = 'running' FOR SHARE",
        (run.id, run.started_at),
    )
    if found.fetchone() is None:
        raise SupersededError(f"another process runs import '{run.name}'")


def end_run(connection: Connection, run: Run) -> None:
    driver_of(connection).execute(
        "UPDATE import_run SET ended_at = %s, outcome = %s, taken = %s, known = %s, rejected = %s, reason = %s"
        " WHERE id = %s",
        (*run[4:], run.id),
    )


def unfinished_runs(connection: Connection) -> list[Run]:
    """Those that run, or whose process ended in the middle."""
    found = driver_of(connection).execute(f"SELECT {_COLUMNS} FROM import_run WHERE outcome = 'running'")  # noqa: S608
    return [Run._make(row) for row in found]


def latest_runs(connection: Connection) -> dict[str, Run]:
    """The latest run of each import."""
    found = driver_of(connection).execute(
        f"SELECT DISTINCT ON (import) {_COLUMNS} FROM import_run ORDER BY import, started_at DESC"  # noqa: S608
    )
    return {run.name: run for run in map(Run._make, found)}


def done_until(connection: Connection, name: str, schedule: str, now: int) -> int:
    """Up to when a schedule is done; one that is new or has changed begins now."""
    found = driver_of(connection).execute(
        "INSERT INTO import_schedule VALUES (%s, %s, %s) ON CONFLICT (import) DO UPDATE"
        " SET schedule = excluded.schedule, done_until = CASE WHEN import_schedule.schedule = excluded.schedule"
        " THEN import_schedule.done_until ELSE excluded.done_until END RETURNING done_until",
        (name, schedule, now),
    )
    row = found.fetchone()
    assert row is not None
    return int(row[0])


class Seen(NamedTuple):
    """A row of a query as it was last seen: the digests of its key and of all of it, and its record's position,
    0 where it became none."""

    key: bytes
    digest: bytes
    position: int


def begin_pass(connection: Connection) -> None:
    """Makes room for the keys of one pass over a query, as long as this connection lasts."""
    driver = driver_of(connection)
    driver.execute("DROP TABLE IF EXISTS pg_temp.import_seen")
    driver.execute("CREATE TEMP TABLE import_seen (key bytea PRIMARY KEY)")


def see_keys(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    """Notes keys; those that this pass had not met before."""
    found = driver_of(connection).execute(
        "INSERT INTO import_seen SELECT unnest(%s::bytea[]) ON CONFLICT DO NOTHING RETURNING key",
        (list(keys),),
    )
    return {row[0] for row in found}


def last_seen(connection: Connection, name: str, keys: Sequence[bytes]) -> dict[bytes, Seen]:
    found = driver_of(connection).execute(
        "SELECT key, digest, position FROM import_row WHERE import = %s AND key = ANY(%s)", (name, list(keys))
    )
    return {row[0]: Seen._make(row) for row in found}


def save_seen(connection: Connection, name: str, rows: Iterable[Seen]) -> None:
    keys, digests, positions = [], [], []
    for row in rows:
        keys.append(row.key)
        digests.append(row.digest)
        positions.append(row.position)
    driver_of(connection).execute(
        "INSERT INTO import_row SELECT %s, * FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[])"
        " ON CONFLICT (import, key) DO UPDATE SET digest = excluded.digest, position = excluded.position",
        (name, keys, digests, positions),
    )


def forget_unseen(connection: Connection, name: str, limit: int) -> list[Seen]:
    """Forgets rows that this pass did not meet; which they were, at most `limit`."""
    found = driver_of(connection).execute(
        "DELETE FROM import_row WHERE import = %s AND key IN (SELECT key FROM import_row r WHERE import = %s"
        " AND NOT EXISTS (SELECT FROM import_seen s WHERE s.key = r.key) ORDER BY key LIMIT %s)"
        " RETURNING key, digest, position",
        (name, name, limit),
    )
    return sorted(map(Seen._make, found))
