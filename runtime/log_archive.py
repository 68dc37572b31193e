"""Moving the log's oldest partitions to the lake: written, read back and compared, and only then let go.

A kill anywhere leaves each partition where readers find it: in the database until the one transaction that notes it
in `log_archive` and drops it (docs/decisions/0005-roles-and-archive.md).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from adapters.lake.files import stream, write_partition
from adapters.lake.table import remove_strays, replace_partition
from adapters.log.chain import batch_end, check_stretch, newest_chain_head
from adapters.log.copy import copy_live_rows
from adapters.log.wire import decode_row, encode_row
from domain.mendable import Mendable
from domain.records import Row
from runtime.failpoints import failpoint

#: Rows that are checked against the chain at once.
STRETCH_ROWS: Final = 50_000
#: A lock that appends and reads wait behind is not waited for longer than this, in milliseconds.
_LOCK_MS: Final = 500
#: For how long letting a partition go is tried again, and how often, in seconds.
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 1.0
_LEAD: Final = 0x61726368
_OWNS: Final = text(
    "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = 'log'::regclass"
)


class ArchiveError(Mendable):
    """A partition cannot be archived; it stays in the database."""


class Partition(NamedTuple):
    """A full partition of the log and its positions."""

    number: int
    first: int
    last: int

    @property
    def rows(self) -> int:
        return self.last - self.first + 1


def to_archive(connection: Connection, keep: int) -> list[Partition]:
    """The full partitions that are in the database, oldest first, without the `keep` newest."""
    rows_each, head, released = connection.execute(
        text(
            "SELECT partition_rows, position, (SELECT coalesce(max(partition), -1) FROM log_archive) FROM log_head"
        )
    ).one()
    full = range(released + 1, (head + 1) // rows_each)
    return [
        Partition(n, max(n * rows_each, 1), (n + 1) * rows_each - 1) for n in full[: max(len(full) - keep, 0)]
    ]


def archive_log(
    owner: Engine, location: str, keep: int, progress: Callable[[int, int], None]
) -> list[Partition]:
    """Moves every full partition but the `keep` newest to the Delta table at `location`; which those were.

    `owner` logs in as the owner of the log's tables, or as whoever may be it. `progress` is told how many
    rows are done of how many: each is checked, written, and read back. Raises `ArchiveError` and `LakeError`.
    """
    with owner.connect() as lead:
        if not lead.execute(_OWNS).scalar():
            raise ArchiveError(
                f"user '{owner.url.username}' does not own the log's tables, and only their owner lets a partition"
                " go; set ROUNDTRIP_DATABASE_OWNER_URL"
            )
        if not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEAD}).scalar():
            raise ArchiveError("another `roundtrip log archive` works on this log; let it finish")
        lead.commit()
        try:
            with owner.connect() as connection:
                chosen = to_archive(connection, keep)
            total = 3 * sum(partition.rows for partition in chosen)
            done = 0

            def step(rows: int) -> None:
                nonlocal done
                done += rows
                progress(done, total)

            for partition in chosen:
                _archive(owner, location, partition, step)
        finally:
            lead.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LEAD})
            lead.commit()
    return chosen


def _archive(owner: Engine, location: str, partition: Partition, step: Callable[[int], None]) -> None:
    _check(owner, partition, step)
    failpoint("archive.checked")
    remove_strays(location, partition.number)
    digest = hashlib.sha256()
    parts = []
    with owner.connect() as connection:
        for part in write_partition(
            location, partition.number, _digested(connection, partition, digest, step)
        ):
            parts.append(part)
            failpoint("archive.file_written")
    replace_partition(location, partition.number, parts)
    failpoint("archive.committed")
    written = digest.digest()
    if _read_back(location, partition, step) != written:
        raise ArchiveError(
            f"{location}: partition {partition.number} reads back other than it was written; it stays in the"
            " database. Look after the store, then archive again"
        )
    failpoint("archive.compared")
    _release(owner, partition, written, location)
    failpoint("archive.released")
    remove_strays(location, partition.number)


def _check(owner: Engine, partition: Partition, step: Callable[[int], None]) -> None:
    """Every batch with a row of the partition holds together: nothing altered is archived as if it were true."""
    with owner.connect() as connection:
        before = newest_chain_head(connection, partition.first - 1)
    after = before.position if before else 0
    while after < partition.last:
        with owner.begin() as connection:
            upto = batch_end(connection, min(after + STRETCH_ROWS, partition.last))
            checked = check_stretch(connection, after, upto)
        if checked.fault is not None:
            raise ArchiveError(
                f"partition {partition.number} is not archived: {checked.fault.what}; see `roundtrip log verify`"
            )
        step(min(upto, partition.last) - max(after, partition.first - 1))
        after = upto


def _digested(
    connection: Connection, partition: Partition, digest: Any, step: Callable[[int], None]
) -> Iterator[Row]:
    for count, encoded in enumerate(copy_live_rows(connection, partition.first, partition.last), 1):
        digest.update(encoded)
        yield decode_row(encoded)
        if count % STRETCH_ROWS == 0:
            step(STRETCH_ROWS)
    step(partition.rows % STRETCH_ROWS)


def _read_back(location: str, partition: Partition, step: Callable[[int], None]) -> bytes:
    digest = hashlib.sha256()
    for rows in stream(location, partition.number, partition.first, partition.last):
        digest.update(b"".join(map(encode_row, rows)))
        step(len(rows))
    return digest.digest()


def _release(owner: Engine, partition: Partition, digest: bytes, location: str) -> None:
    """Notes the partition and drops it, in one transaction. Who reads holds it back, and while it waits others
    wait behind it: so it waits shortly, and tries again."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with owner.begin() as connection:
                connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MS}"))
                connection.execute(
                    text("SELECT public.log_release_partition(:number, :digest, :location)"),
                    {"number": partition.number, "digest": digest, "location": location},
                )
                failpoint("archive.before_release")
                return
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                raise
            if time.monotonic() > deadline:
                raise ArchiveError(
                    f"partition {partition.number} is in the lake and stays in the database too: for"
                    f" {_PATIENCE_S:.0f} s somebody read the log in one transaction. Archive again when it has ended"
                ) from error
            time.sleep(_PAUSE_S)
