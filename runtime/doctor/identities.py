"""The log's rows and their identities: each position has one row, each identity one record, no version is left out.

The rows themselves are walked, in the database and in the lake, and held against the index by which an append knows a
duplicate: an index that has lost an identity would take the same record in again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Engine

from adapters.log.copy import copy_rows, position_of, stream_of
from adapters.log.driver import driver_of
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.subjects import CHECKPOINT as SUBJECTS
from adapters.projections.subjects import first_unindexed
from domain.outbound import OUTCOME_VERSION
from runtime.doctor.finding import Finding

#: Rows that are held against the index at once.
ROWS: Final = 20_000


def examine_identities(engine: Engine, progress: Callable[[int, int], None]) -> list[Finding]:
    """Whether there is one record per identity (I2), and neither positions nor versions have a gap (I3)."""
    with engine.connect() as connection:
        head = read_head(connection).position
    twice = skipped = ""
    at = 0
    while at < head and not (twice or skipped):
        upto = min(at + ROWS, head)
        with engine.begin() as connection:
            rows = list(copy_rows(connection, at + 1, upto))
            skipped = _gap(rows, at + 1, upto)
            twice = _unlike_index(connection, rows)
        at = upto
        progress(at, head)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        twice = twice or _without_row(connection)
        skipped = skipped or _versions(connection)
    examined = f"{at:,} rows"
    return [
        Finding("I2", "one record per identity", examined, twice),
        Finding("I3", "positions and versions without a gap", examined, skipped),
    ]


def examine_subjects(engine: Engine, progress: Callable[[int, int], None]) -> Finding:
    """Whether whose rows stand where is known of each row that the index has come to (I4)."""
    with engine.connect() as connection:
        indexed = read_checkpoint(connection, SUBJECTS)
    wrong = ""
    at = 0
    while at < indexed and not wrong:
        upto = min(at + ROWS, indexed)
        with engine.connect() as connection:
            missing = first_unindexed(connection, at, upto)
        wrong = "" if missing is None else f"the row at position {missing} is not found by whose it is"
        at = upto
        progress(at, indexed)
    return Finding("I4", "the index by person has every row", f"{at:,} rows", wrong)


def _gap(rows: Sequence[bytes], first: int, last: int) -> str:
    """The first position without its one row; empty where there is none."""
    found = map(position_of, rows)
    for expected in range(first, last + 1):
        if (position := next(found, None)) != expected:
            return f"position {expected} has no row; the next one stands at {position or 'no other'}"
    return ""


def _unlike_index(connection: Connection, rows: Sequence[bytes]) -> str:
    """The first row that is not the one by which its identity is known."""
    identities = [stream_of(row) for row in rows]
    given = (
        [position_of(row) for row in rows],
        [UUID(bytes=stream) for stream, _ in identities],
        [version for _, version in identities],
    )
    query = (
        "SELECT n.position, n.stream::text, n.version, s.position FROM unnest(%b::bigint[], %b::uuid[], %b::int[])"
        " AS n(position, stream, version) LEFT JOIN log_stream s ON s.stream_id = n.stream AND s.version = n.version"
        " WHERE s.position IS DISTINCT FROM n.position ORDER BY n.position LIMIT 1"
    )
    found = _first(connection, query, given)
    if found is None:
        return ""
    position, stream, version, other = found
    what = f"version {version} of stream {stream}, at position {position},"
    if other is None:
        return f"{what} is not known by its identity: the same record would be taken in again"
    return f"{what} stands at position {other} too"


def _without_row(connection: Connection) -> str:
    """Identities are as many as rows; with each row's own being known, none is of a row that is not there."""
    query = "SELECT (SELECT count(*) FROM log_stream), position FROM log_head"
    found = _first(connection, query)
    assert found is not None, "the log has no head row; run `roundtrip migrate`"
    known, head = found
    return "" if known == head else f"{known:,} identities are known, and the log has {head:,} rows"


def _versions(connection: Connection) -> str:
    """The first stream in which a version is left out or stands before the one that precedes it.

    An outcome's version is far above the others, so that there is one of it.
    """
    query = (
        "SELECT stream_id::text, version, position, before, above FROM (SELECT stream_id, version, position,"
        " lag(version, 1, 0) OVER stream AS before, lag(position, 1, 0::bigint) OVER stream AS above FROM log_stream"
        " WINDOW stream AS (PARTITION BY stream_id ORDER BY version)) x"
        " WHERE position <= above OR (version <> before + 1 AND version <> %b) LIMIT 1"
    )
    found = _first(connection, query, (OUTCOME_VERSION,))
    if found is None:
        return ""
    stream, version, position, before, above = found
    if version != before + 1:
        return (
            f"stream {stream} has version {version} at position {position}, and none between it and {before}"
        )
    return f"version {version} of stream {stream} stands at {position}, before version {before} at {above}"


def _first(connection: Connection, query: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
    with driver_of(connection).cursor(binary=True) as cursor:
        return cursor.execute(query, values or None).fetchone()
