"""The only door into the log: one batch, one transaction, positions without a gap and in commit order.

The head row is locked from the first look until the commit, so a position is visible only when every
lower one is (docs/decisions/0002-append.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection

from adapters.keys.keyring import keyring_of
from adapters.log.devices import led_by_last_users
from adapters.log.driver import driver_of
from adapters.log.writing import write_rows
from domain.erasure import ENGAGEMENT, refused
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.records import Entry

TICK_TOPIC: Final = "clock.tick"
#: One in so many entries is looked up before a batch is written, and all of a batch that has no more; a larger batch
#: without a known one among them is taken for new.
PROBE: Final = 64


class Appended(NamedTuple):
    """Where an entry stands in the log; `new` is false where it stood there before."""

    position: int
    new: bool


#: Without a call into Python for each of many.
_appended: Final[Callable[[tuple[int, bool]], Appended]] = partial(tuple.__new__, Appended)


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
    rules: Rules = DEFAULT_RULES,
) -> Batch:
    """Appends the entries that are not in the log yet, in order, within the connection's transaction.

    The answer to whoever handed them in may be given after the commit, not before. `advance_to` moves a
    simulated clock forward (microseconds; never back). `must_be_new` raises `ConflictError` at a stream
    version that exists, in place of passing it over. By `rules`, what a shared device sends without a user may be its
    most recent user's.

    Entries that are somebody's are sealed under that subject's key. Engagement with a message to somebody who has been
    erased is not kept: an entry that says so stands in its place. Raises `KeysMissingError` where the engine was opened
    without keys.
    """
    with driver_of(connection).cursor(binary=True) as cursor:
        many = len(entries) > PROBE
        head = lock_head(cursor, advance_to, entries[::PROBE] if many else entries)
        if many and not head.known:
            # No sign of a duplicate: the unique index of `log_stream` is asked by writing to it.
            numbered = zip(range(head.position + 1, head.position + 1 + len(entries)), repeat(True))
            cursor.execute("SAVEPOINT append")
            try:
                return _write(connection, cursor, head, entries, list(map(_appended, numbered)), rules)
            except psycopg.errors.UniqueViolation:
                cursor.execute("ROLLBACK TO SAVEPOINT append")
        known = _positions(cursor, entries) if many or head.known or head.moved else {}
        fresh, appended = _number(entries, head.position, known, must_be_new)
        return _write(connection, cursor, head, fresh, appended, rules)


class Head(NamedTuple):
    """The log's head. `known` says that one of the entries asked for was there as the lock was asked for, `moved` that
    others have appended since."""

    position: int
    recorded_at: int
    digest: bytes
    partition_rows: int
    erasures: int
    known: bool
    moved: bool


def _states(
    connection: Connection, cursor: psycopg.Cursor[Any], head: Head, entries: Sequence[Entry]
) -> Iterator[bytes]:
    """The states as they are stored: sealed, but for what is nobody's."""
    if all(entry.subject is None for entry in entries):
        return (entry.state for entry in entries)
    return keyring_of(connection).seal(cursor, entries, head.erasures)


def _kept(
    connection: Connection, cursor: psycopg.Cursor[Any], head: Head, entries: Sequence[Entry]
) -> Sequence[Entry]:
    """The entries as they may be kept: a late webhook brings nothing back of a person who was erased."""
    if not head.erasures:
        return entries
    answering = {
        entry.subject for entry in entries if entry.topic in ENGAGEMENT and entry.subject is not None
    }
    gone = keyring_of(connection).destroyed(cursor, answering, head.erasures) if answering else {}
    if not gone:
        return entries
    return [
        refused(entry, gone[entry.subject]) if entry.topic in ENGAGEMENT and entry.subject in gone else entry
        for entry in entries
    ]


def _number(
    entries: Sequence[Entry], position: int, known: dict[tuple[str, int], int], must_be_new: bool
) -> tuple[list[Entry], list[Appended]]:
    """The entries that are new, in order, and where each of all entries stands or will stand."""
    fresh: list[Entry] = []
    appended: list[Appended] = []
    for entry in entries:
        key = entry[:2]
        stands = known.get(key)
        if stands is None:
            position += 1
            known[key] = position
            fresh.append(entry)
            appended.append(Appended(position, True))
        elif must_be_new:
            raise ConflictError(f"stream {entry.stream_id} has a version {entry.version} already")
        else:
            appended.append(Appended(stands, False))
    return fresh, appended


def _write(
    connection: Connection,
    cursor: psycopg.Cursor[Any],
    head: Head,
    fresh: Sequence[Entry],
    appended: list[Appended],
    rules: Rules,
) -> Batch:
    if not fresh:
        return Batch(appended, head.position, head.recorded_at)
    first, last = head.position + 1, head.position + len(fresh)
    if rules.most_recent_user:
        fresh = led_by_last_users(connection, cursor, fresh, first, head.recorded_at, rules)
    fresh = _kept(connection, cursor, head, fresh)
    ensure_partitions(cursor, first, last, head.partition_rows)
    write_rows(cursor, head.digest, first, head.recorded_at, fresh, _states(connection, cursor, head, fresh))
    return Batch(appended, last, head.recorded_at)


def lock_head(cursor: psycopg.Cursor[Any], advance_to: int | None, probed: Sequence[Entry]) -> Head:
    cursor.execute(
        "SELECT position, greatest(recorded_at, CASE clock"
        " WHEN 'wall' THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        " ELSE %b END), digest, partition_rows, erasures, EXISTS (SELECT FROM log_stream"
        " WHERE stream_id = ANY(string_to_array(%b, ',')::uuid[]) AND version BETWEEN %b AND %b),"
        # Where the lock was waited for, the statement's own look at the head is older than the row that was locked.
        " position <> (SELECT position FROM log_head)"
        " FROM log_head FOR UPDATE",
        (advance_to or 0, *_sought(probed)),
    )
    row = cursor.fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    return Head(*row)


def _positions(cursor: psycopg.Cursor[Any], entries: Sequence[Entry]) -> dict[tuple[str, int], int]:
    if not entries:
        return {}
    cursor.execute(
        "SELECT stream_id::text, version, position FROM log_stream"
        " WHERE stream_id = ANY(string_to_array(%b, ',')::uuid[]) AND version BETWEEN %b AND %b",
        _sought(entries),
    )
    return {(stream_id, version): position for stream_id, version, position in cursor}


def _sought(entries: Sequence[Entry]) -> tuple[str, int, int]:
    # The versions' bounds keep the look-up short for a stream that is long.
    versions = [entry.version for entry in entries] or [0]
    # One text in place of a list, which psycopg goes through twice.
    return ",".join(entry.stream_id for entry in entries), min(versions), max(versions)


def ensure_partitions(cursor: psycopg.Cursor[Any], first: int, last: int, partition_rows: int) -> None:
    """Partitions are made one ahead: the one that follows is there before the first row needs it."""
    reached, reaches = (first - 1) // partition_rows, last // partition_rows
    if first == 1 or reached != reaches:
        cursor.execute(
            "SELECT public.log_add_partition(number) FROM generate_series(%b::bigint, %b) number",
            (reached + 1, reaches + 1),
        )
