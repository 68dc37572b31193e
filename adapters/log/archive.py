"""Which of the log's partitions are in the lake, and their rows (docs/decisions/0005-roles-and-archive.md).

What is read where is decided by whether the partition exists in the database: that is looked up by name, which
sees the present also in a transaction whose snapshot is older.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from sqlalchemy import Connection

from adapters.log.driver import driver_of
from domain.records import Row

#: Under this name a connection remembers up to which position it knows the log to be in the lake.
_KNOWN: Final = "archived_upto"


class StaleSnapshotError(Exception):
    """A position is neither in the database nor, as this transaction sees it, in the lake.

    The transaction began before the partition went to the lake, or somebody took the partition away.
    """

    def __init__(self, position: int) -> None:
        super().__init__(
            f"position {position} went to the lake while this transaction was reading; begin a new one, and where"
            " that says the same, somebody took the partition away: `roundtrip log verify` tells"
        )
        self.position = position


class Archived(NamedTuple):
    """A partition in the lake: which positions, and the address of the Delta table."""

    partition: int
    first: int
    last: int
    location: str

    def rows(self, first: int, last: int, limit: int) -> list[Row]:
        """At most `limit` of its rows from position `first` to `last`. Raises `LakeError`."""
        # Only here, since what reads the lake takes 60 MB, and most logs are not in it.
        from adapters.lake.files import page

        return page(self.location, self.partition, max(first, self.first), min(last, self.last), limit)

    def stream(self, first: int, last: int) -> Iterator[Row]:
        """Its rows from position `first` to `last`, as they are this moment. Raises `LakeError`."""
        from adapters.lake.files import stream

        groups = stream(self.location, self.partition, max(first, self.first), min(last, self.last))
        return chain.from_iterable(groups)


def archived_at(connection: Connection, position: int) -> Archived | None:
    """The partition with this position where it is in the lake; `None` where the database has it, or nobody.

    Certain for as long as the transaction holds a lock on `log`, which reading from it takes. Raises
    `StaleSnapshotError`.
    """
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute(
            "SELECT to_regclass('log_' || %b::bigint / head.partition_rows) IS NOT NULL OR %b > head.position,"
            " partition, first_position, last_position, location"
            " FROM log_head head LEFT JOIN log_archive ON partition = %b::bigint / head.partition_rows",
            (position, position, position),
        ).fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    if row[0]:
        return None
    if row[1] is None:
        raise StaleSnapshotError(position)
    found = Archived(*row[1:])
    connection.info[_KNOWN] = max(found.last, connection.info.get(_KNOWN, 0))
    return found


def known_archived(connection: Connection, position: int) -> bool:
    """Whether this connection has seen already that a position is in the lake. Nothing ever comes back."""
    return bool(position <= connection.info.get(_KNOWN, 0))


def hold_partitions(connection: Connection) -> None:
    """Keeps every partition where it is until the transaction ends."""
    driver_of(connection).execute("LOCK TABLE ONLY log IN ACCESS SHARE MODE")
