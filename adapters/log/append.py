"""The only door into the log: one batch, one transaction, positions without a gap and in commit order.

The head row is locked from the first look until the commit, so a position is visible only when every
lower one is (docs/decisions/0002-append.md).
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from adapters.log.read import driver_of
from adapters.log.schema import CHANNEL
from adapters.log.wire import HEADER, TRAILER, encode_log_row, encode_stream_row
from domain.records import Entry

TICK_TOPIC: Final = "clock.tick"


class Appended(NamedTuple):
    """Where an entry stands in the log; `new` is false where it stood there before."""

    position: int
    new: bool


class ConflictError(Exception):
    """A version of a stream that must be new is in the log already."""


class Batch(NamedTuple):
    """What one append did. `recorded_at` is the log's time of all its rows, in microseconds."""

    appended: list[Appended]
    last_position: int
    recorded_at: int


def append(
    connection: Connection,
    entries: Sequence[Entry],
    *,
    advance_to: int | None = None,
    must_be_new: bool = False,
) -> Batch:
    """Appends the entries that are not in the log yet, in order, within the connection's transaction.

    The answer to whoever handed them in may be given after the commit, not before. `advance_to` moves a
    simulated clock forward (microseconds; never back). `must_be_new` raises `ConflictError` at a stream
    version that exists, in place of passing it over.
    """
    with driver_of(connection).cursor(binary=True) as cursor:
        position, recorded_at, previous, partition_rows = _lock_head(cursor, advance_to)
        known = _positions(cursor, entries)
        appended: list[Appended] = []
        rows: list[bytes] = []
        streams: list[bytes] = []
        first = position + 1
        for entry in entries:
            key = (entry.stream_id, entry.version)
            stands = known.get(key)
            if stands is not None:
                if must_be_new:
                    raise ConflictError(f"stream {entry.stream_id} has a version {entry.version} already")
                appended.append(Appended(stands, False))
                continue
            position += 1
            known[key] = position
            appended.append(Appended(position, True))
            rows.append(encode_log_row(position, recorded_at, entry))
            streams.append(encode_stream_row(position, entry))
        if rows:
            _ensure_partitions(cursor, first, position, partition_rows)
            body = b"".join(rows)
            _copy(cursor, "log", body)
            _copy(cursor, "log_stream", b"".join(streams))
            digest = hashlib.sha256(previous + body).digest()
            checks = struct.pack(f">{len(rows)}I", *map(zlib.crc32, rows))
            cursor.execute(
                "WITH batch AS (INSERT INTO log_batch (last_position, first_position, recorded_at, digest, checks)"
                " VALUES (%b, %b, %b, %b, %b))"
                " UPDATE log_head SET position = %b, recorded_at = %b, digest = %b"
                " RETURNING pg_notify(%b, position::text)",
                (position, first, recorded_at, digest, checks, position, recorded_at, digest, CHANNEL),
            )
    return Batch(appended, position, recorded_at)


def _lock_head(cursor: psycopg.Cursor[Any], advance_to: int | None) -> tuple[int, int, bytes, int]:
    cursor.execute(
        "SELECT position, greatest(recorded_at, CASE clock"
        " WHEN 'wall' THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        " ELSE %b END), digest, partition_rows FROM log_head FOR UPDATE",
        (advance_to or 0,),
    )
    row = cursor.fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    return row[0], row[1], row[2], row[3]


def _positions(cursor: psycopg.Cursor[Any], entries: Sequence[Entry]) -> dict[tuple[str, int], int]:
    if not entries:
        return {}
    # The versions' bounds keep the look-up short for a stream that is long.
    versions = [entry.version for entry in entries]
    cursor.execute(
        "SELECT stream_id::text, version, position FROM log_stream"
        " WHERE stream_id = ANY(%b::text[]::uuid[]) AND version BETWEEN %b AND %b",
        ([entry.stream_id for entry in entries], min(versions), max(versions)),
    )
    return {(stream_id, version): position for stream_id, version, position in cursor}


def _copy(cursor: psycopg.Cursor[Any], table: str, body: bytes) -> None:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(table))
    with cursor.copy(statement) as copy:
        copy.write(HEADER)
        copy.write(body)
        copy.write(TRAILER)


def _ensure_partitions(cursor: psycopg.Cursor[Any], first: int, last: int, partition_rows: int) -> None:
    """Partitions are made one ahead: the one that follows is there before the first row needs it."""
    reached, reaches = (first - 1) // partition_rows, last // partition_rows
    if first == 1 or reached != reaches:
        cursor.execute(
            "SELECT public.log_add_partition(number) FROM generate_series(%b::bigint, %b) number",
            (reached + 1, reaches + 1),
        )
