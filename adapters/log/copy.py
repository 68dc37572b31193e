"""Rows of the log as the hash chain covers them: the tuples of PostgreSQL's binary COPY, one by one."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from adapters.log.archive import archived_at, hold_partitions
from adapters.log.driver import driver_of
from adapters.log.wire import HEADER, TRAILER, encode_row


def copy_rows(connection: Connection, first: int, last: int) -> Iterator[bytes]:
    """The rows from position `first` to `last`, in order, from the lake and the database as they are now.

    The connection does nothing else until the end. Raises `LakeError`.
    """
    hold_partitions(connection)
    while first <= last and (part := archived_at(connection, first)) is not None:
        for row in part.stream(first, last):
            yield encode_row(row)
        first = part.last + 1
    if first <= last:
        yield from copy_live_rows(connection, first, last)


def copy_live_rows(connection: Connection, first: int, last: int) -> Iterator[bytes]:
    """As `copy_rows`, of what is in the database."""
    query = f"SELECT * FROM log WHERE position BETWEEN {first:d} AND {last:d} ORDER BY position"  # noqa: S608
    with driver_of(connection).cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
        # The server sends a row a message; the first comes with the file's header, the trailer by itself.
        for message in copy:
            row = bytes(message)
            if row.startswith(HEADER):
                row = row[len(HEADER) :]
            if row and row != TRAILER:
                yield row


def position_of(row: bytes) -> int:
    """The position that a tuple of `log` holds."""
    return int.from_bytes(row[6:14], "big")


def with_position(row: bytes, position: int) -> bytes:
    """The same tuple at another position."""
    return row[:6] + position.to_bytes(8, "big") + row[14:]


def stream_of(row: bytes) -> tuple[bytes, int]:
    """The stream's id (16 bytes) and the version that a tuple of `log` holds."""
    return row[18:34], int.from_bytes(row[38:42], "big")
