"""The hash chain: its heads, and what is wrong with the log where the chain does not hold.

A batch's digest is the SHA-256 of the digest before it and of its rows as binary COPY gives them, so each
batch can be checked by itself against the digest that is recorded for the one before it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from adapters.lake.errors import DamagedError
from adapters.log.archive import StaleSnapshotError
from adapters.log.copy import copy_rows, position_of, stream_of, with_position
from adapters.log.driver import driver_of

#: Rows that are read at once, unless one batch has more.
_ROWS: Final = 10_000
_BATCH: Final = "first_position, last_position, recorded_at, digest, checks"


class ChainHead(NamedTuple):
    """The chain at the end of a batch: whoever holds it can tell whether anything up to there has changed.

    `recorded_at` is in microseconds.
    """

    position: int
    recorded_at: int
    digest: bytes


class Fault(NamedTuple):
    """The first thing that is wrong: at which position, in which batch (first and last position), and what."""

    position: int
    batch: tuple[int, int] | None
    kind: Literal["altered", "missing", "reordered", "added", "rewritten", "truncated"]
    what: str


class Checked(NamedTuple):
    """A stretch of the chain: the digests before its first and of its last batch, and what is wrong in it."""

    previous: bytes
    digest: bytes
    rows: int
    batches: int
    fault: Fault | None = None


class Batch(NamedTuple):
    """A row of `log_batch`. `checks` is None where it was appended before there were any."""

    first: int
    last: int
    recorded_at: int
    digest: bytes
    checks: bytes | None


def read_chain_head(connection: Connection) -> ChainHead:
    """The chain's end, which an append moves."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position, recorded_at, digest FROM log_head").fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    return ChainHead(*row)


def read_chain_heads(connection: Connection, after: int = 0, page: int = 5_000) -> Iterator[ChainHead]:
    """The chain at the end of every batch above a position, page by page."""
    while True:
        with driver_of(connection).cursor(binary=True) as cursor:
            rows = cursor.execute(
                "SELECT last_position, recorded_at, digest FROM log_batch WHERE last_position > %b"
                " ORDER BY last_position LIMIT %b",
                (after, page),
            ).fetchall()
        if not rows:
            return
        yield from (ChainHead(*row) for row in rows)
        after = rows[-1][0]


def newest_chain_head(connection: Connection, upto: int) -> ChainHead | None:
    """The chain at the end of the last batch that is not above a position."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute(
            "SELECT last_position, recorded_at, digest FROM log_batch WHERE last_position <= %b"
            " ORDER BY last_position DESC LIMIT 1",
            (upto,),
        ).fetchone()
    return ChainHead(*row) if row else None


def batch_end(connection: Connection, position: int) -> int:
    """The last position of the batch that holds a position; the chain's end where none does."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute(
            "SELECT last_position FROM log_batch WHERE last_position >= %b ORDER BY 1 LIMIT 1", (position,)
        ).fetchone()
    return row[0] if row else read_chain_head(connection).position


def first_position_at(connection: Connection, time_us: int) -> int:
    """The first position recorded at or after a time (microseconds); one above the log's end where none is."""
    low, high = 1, read_chain_head(connection).position + 1
    with driver_of(connection).cursor(binary=True) as cursor:
        while low < high:
            row = cursor.execute(
                "SELECT first_position, last_position, recorded_at FROM log_batch"
                " WHERE last_position >= %b ORDER BY last_position LIMIT 1",
                ((low + high) // 2,),
            ).fetchone()
            if row is None or row[2] >= time_us:
                high = (low + high) // 2 if row is None else min(row[0], (low + high) // 2)
            else:
                low = row[1] + 1
    return low


def check_stretch(connection: Connection, after: int, upto: int) -> Checked:
    """Checks the batches above `after`, at which one ends, up to the one that ends at `upto`."""
    before = newest_chain_head(connection, after)
    previous = before.digest if before else b""
    digest, expected, rows, batches = previous, after + 1, 0, 0
    for several in _batches(connection, after, upto):
        stretch: list[Batch] = []
        for batch in several:
            if batch.first != expected:
                fault = Fault(
                    expected,
                    (batch.first, batch.last),
                    "missing",
                    f"no batch covers position {expected}; the next one recorded begins at {batch.first}",
                )
                return Checked(previous, digest, rows, batches, fault)
            stretch.append(batch)
            expected = batch.last + 1
        try:
            # As a list, since whoever examines a fault asks the same connection more.
            several_found = list(_rows_of(connection, stretch))
        except DamagedError as error:
            position = max(error.first, stretch[0].first)
            return Checked(previous, digest, rows, batches, Fault(position, None, "altered", str(error)))
        except StaleSnapshotError as error:
            # No snapshot here is older than the lock that keeps partitions where they are: this one is gone.
            what = f"the partition with position {error.position} is neither in the database nor in the lake"
            return Checked(previous, digest, rows, batches, Fault(error.position, None, "missing", what))
        for batch, found in several_found:
            if hashlib.sha256(digest + b"".join(found)).digest() != batch.digest:
                return Checked(previous, digest, rows, batches, examine(connection, batch, found))
            digest, rows, batches = batch.digest, rows + len(found), batches + 1
    if expected != upto + 1:
        fault = Fault(
            expected, None, "missing", f"no batch covers position {expected}, and the log goes to {upto}"
        )
        return Checked(previous, digest, rows, batches, fault)
    return Checked(previous, digest, rows, batches)


def examine(connection: Connection, batch: Batch, rows: list[bytes]) -> Fault:
    """Why a batch's digest is not that of its rows: the first position at which they part."""
    whole = (batch.first, batch.last)
    positions = {position_of(row) for row in rows}
    for position in range(batch.first, batch.last + 1):
        if position not in positions:
            return Fault(position, whole, "missing", f"the row at position {position} is missing")
    checks = _checks(batch)
    wrong = [row for i, row in enumerate(rows) if checks is None or zlib.crc32(row) != checks[i]]
    for row in wrong:
        position = position_of(row)
        home = _home(connection, row)
        if home in (None, position):
            home = _place(row, wrong, batch, checks)
        if home not in (None, position):
            what = f"the row at position {position} is the one that was appended at position {home}"
            return Fault(position, whole, "reordered", what)
        if checks is not None:
            return Fault(position, whole, "altered", f"the row at position {position} was altered")
    if checks is None:
        what = f"one of the rows at positions {batch.first} to {batch.last} was altered"
    else:
        what = f"the recorded digest of the batch at positions {batch.first} to {batch.last} was altered"
    return Fault(batch.first, whole, "altered", what)


def rows_above(connection: Connection) -> Fault | None:
    """A row that stands above the head was not appended."""
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute(
            "SELECT min(position) FROM log WHERE position > (SELECT position FROM log_head)"
        ).fetchone()
    if row is None or row[0] is None:
        return None
    return Fault(row[0], None, "added", f"the row at position {row[0]} stands above the log's head")


def _batches(connection: Connection, after: int, upto: int) -> Iterator[list[Batch]]:
    while after < upto:
        with driver_of(connection).cursor(binary=True) as cursor:
            found = cursor.execute(
                f"SELECT {_BATCH} FROM log_batch WHERE last_position > %b AND last_position <= %b"  # noqa: S608
                " ORDER BY last_position LIMIT 500",
                (after, upto),
            ).fetchall()
        if not found:
            return
        batches = [Batch(*row) for row in found]
        start = batches[0].first
        for _, several in groupby(batches, key=lambda batch: (batch.first - start) // _ROWS):
            yield list(several)
        after = batches[-1].last


def _rows_of(connection: Connection, batches: list[Batch]) -> Iterator[tuple[Batch, list[bytes]]]:
    """Each batch with the rows that stand at its positions, read in one go."""
    if not batches:
        return
    rows = copy_rows(connection, batches[0].first, batches[-1].last)
    row = next(rows, None)
    for batch in batches:
        found: list[bytes] = []
        while row is not None and position_of(row) <= batch.last:
            found.append(row)
            row = next(rows, None)
        yield batch, found


def _checks(batch: Batch) -> tuple[int, ...] | None:
    count = batch.last - batch.first + 1
    if batch.checks is None or len(batch.checks) != 4 * count:
        return None
    return struct.unpack(f">{count}I", batch.checks)


def _home(connection: Connection, row: bytes) -> int | None:
    """Where the index of streams says that this row stands."""
    stream, version = stream_of(row)
    with driver_of(connection).cursor(binary=True) as cursor:
        found: Any = cursor.execute(
            "SELECT position FROM log_stream WHERE stream_id = %b AND version = %b",
            (UUID(bytes=stream), version),
        ).fetchone()
    return found[0] if found else None


def _place(row: bytes, others: list[bytes], batch: Batch, checks: tuple[int, ...] | None) -> int | None:
    """The position in its batch at which this very row was appended, by the checks."""
    for position in map(position_of, others) if checks else ():
        assert checks is not None
        if zlib.crc32(with_position(row, position)) == checks[position - batch.first]:
            return position
    return None
