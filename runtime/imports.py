"""Importing a file: rows into the log batch by batch, the refused ones into a file beside it.

An import is known by its feed, the file's content and the mapping. Ended anywhere and begun again, it goes on
behind the last batch that was committed; and as a row's record has one identity, none is taken in twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple

import msgspec
from sqlalchemy import Engine

from adapters.files import File
from adapters.imports import Progress, begin_import, move_import
from adapters.log.append import append
from domain.records import Entry, derive_id, entry_of
from feeds.mapping import Mapping
from feeds.rows import Rejected, read_rows
from feeds.table import RowError, record_maker
from runtime.failpoints import failpoint

BATCH_ROWS: Final = 5_000
BATCH_BYTES: Final = 8 * 1024 * 1024

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Batch(NamedTuple):
    """Rows up to the one with `number`."""

    number: int
    entries: Sequence[Entry]
    rejected: Sequence[Rejected]


def mapped(file: File, feed: str, mapping: Mapping, began_at: int) -> Iterator[tuple[int, Entry | Rejected]]:
    """Each row's number, and what became of it. Raises `FileError`."""
    make = record_maker(feed, mapping, file.digest, began_at)
    for row in read_rows(file.kind, file.stream, mapping.delimiter):
        if isinstance(row, Rejected):
            yield row.number, row
            continue
        try:
            yield row.number, entry_of(make(*row))
        except RowError as error:
            yield row.number, Rejected(row.number, error.code, error.reason, row.values)
        except (msgspec.ValidationError, OverflowError, UnicodeEncodeError) as error:
            reason = f"the row cannot be kept ({type(error).__name__})"
            yield row.number, Rejected(row.number, "not_kept", reason, None)


def batches(rows: Iterable[tuple[int, Entry | Rejected]], after: int) -> Iterator[Batch]:
    """The rows behind number `after`, in batches that are one transaction each."""
    entries: list[Entry] = []
    rejected: list[Rejected] = []
    size, number = 0, after
    for number, row in rows:
        if number <= after:
            continue
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            entries.append(row)
            size += len(row.state)
        if len(entries) + len(rejected) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield Batch(number, entries, rejected)
            entries, rejected, size = [], [], 0
    yield Batch(number, entries, rejected)


def run_import(
    engine: Engine,
    file: File,
    feed: str,
    mapping: Mapping,
    now: int,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Imports the file; what came of it. `now` is in microseconds. Raises `FileError` and SQLAlchemy's errors,
    after which the same may be run again."""
    identity = derive_id("import", feed, file.digest, mapping.model_dump_json())
    with engine.begin() as connection:
        progress = begin_import(connection, Progress(identity, feed, file.name, now))
    if progress.done:
        return progress
    rows = mapped(file, feed, mapping, progress.started_at)
    with _Aside(rejected_file(file.name), progress.rejected_bytes) as aside, ThreadPoolExecutor(1) as thread:
        under_way: Future[Progress] | None = None
        for batch in batches(rows, progress.number):
            # While one batch is committed, the next is read.
            if under_way is not None:
                progress = under_way.result()
                report(progress)
            under_way = thread.submit(_commit, engine, progress, batch, aside)
        assert under_way is not None
        progress = under_way.result()._replace(done=True)
        with engine.begin() as connection:
            move_import(connection, progress)
    report(progress)
    return progress


def rejected_file(name: str) -> Path:
    """Where a file's rejected rows go: beside it, or, of a file in a store, into the working directory."""
    place = Path(name.rpartition("/")[2]) if "://" in name else Path(name)
    return place.with_name(place.name + ".rejected.ndjson")


def _commit(engine: Engine, before: Progress, batch: Batch, aside: _Aside) -> Progress:
    size = aside.write(batch.rejected)
    with engine.begin() as connection:
        appended = append(connection, batch.entries).appended
        new = sum(one.new for one in appended)
        progress = before._replace(
            number=batch.number,
            taken=before.taken + new,
            known=before.known + len(appended) - new,
            rejected=before.rejected + len(batch.rejected),
            rejected_bytes=size,
        )
        move_import(connection, progress)
        failpoint("import.before_commit")
    failpoint("import.committed")
    return progress


class _Aside:
    """The file of rejected rows, made with the first one. What an ended run wrote behind its last commit is cut
    off again."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Aside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rejected: Sequence[Rejected]) -> int:
        """Writes rows durably; how many bytes of the file count now."""
        if rejected:
            if self._file is None:
                # Others than the owner have no business with people's data.
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                self._file = os.fdopen(descriptor, "r+b")
                self._file.truncate(self._size)
                self._file.seek(self._size)
            self._file.write(b"".join(_encode(row._asdict()) + b"\n" for row in rejected))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._size = self._file.tell()
        return self._size
