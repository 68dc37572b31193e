"""Importing a file: rows into the log batch by batch, the refused ones into a file beside it.

An import is known by its feed, the file's content and the mapping. Ended anywhere and begun again, it goes on
behind the last batch that was committed; and as a row's record has one identity, none is taken in twice.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
from sqlalchemy import Connection, Engine

from adapters.files import File
from adapters.imports import Progress, begin_import, move_import
from adapters.keys.keyring import keyring_of
from adapters.log.ahead import append_ahead, open_ahead
from adapters.log.append import append
from adapters.projections.definitions import load_workspace
from adapters.quarantine import put_aside
from domain.identity_rules import Rules
from domain.records import derive_id
from domain.tracking_plan import PlanOfFeed
from feeds.mapping import Mapping
from feeds.rows import Rejected
from runtime.failpoints import failpoint
from runtime.identity_rules import rules_of
from runtime.import_batches import Batch, batches
from runtime.import_reader import WORTH_A_PROCESS, Reader
from runtime.import_reading import Asked, Sealing
from runtime.import_sealing import Ahead, keyed, sealed

_encode = msgspec.json.Encoder(enc_hook=str).encode


def run_import(
    engine: Engine,
    file: File,
    feed: str,
    mapping: Mapping,
    now: int,
    report: Callable[[Progress, int], None] = lambda progress, read: None,
    plan: PlanOfFeed | None = None,
    aside: Path | None = None,
    reader: Reader | None = None,
) -> Progress:
    """Imports the file; what came of it. `now` is in microseconds. `report` is told how far it has come, and how many
    of the file's bytes have been read. The rejected rows go into the file `aside`, by default beside the file itself.
    A `reader` (`runtime.import_reader`) reads in a process of its own where that is worth it.

    Raises `FileError` and SQLAlchemy's errors, after which the same may be run again."""
    identity = derive_id("import", feed, file.digest, mapping.model_dump_json())
    with engine.begin() as connection:
        progress = begin_import(connection, Progress(identity, feed, file.name, now))
        rules = rules_of(load_workspace(connection))
        keys = keyring_of(connection).management
    if progress.done:
        return progress
    engine = keyed(engine, keys)
    url = engine.url.render_as_string(hide_password=False)
    with (
        _Aside(aside or rejected_file(file.name), progress.rejected_bytes) as rejected,
        ThreadPoolExecutor(1) as thread,
        _seldom_collected(),
    ):
        # Of who has no user on a shared device, the log says who it was.
        ahead = Ahead(None if rules.most_recent_user else "new")
        found = batches(file, feed, mapping, progress.started_at, progress.number, plan, rules)
        if reader is not None and plan is None and file.size >= WORTH_A_PROCESS:
            sealing = Sealing(url, keys) if ahead.how else None
            asked = Asked.of(file, feed, mapping, progress.started_at, progress.number, rules, sealing)
            found = reader.batches(asked, ahead)
        under_way: Future[Progress] | None = None
        for batch in found:
            # While one batch is committed, the next is read.
            if under_way is not None:
                progress = under_way.result()
                report(progress, batch.read)
            under_way = thread.submit(_commit, engine, progress, batch, rejected, rules, ahead)
        if under_way is not None:
            progress = under_way.result()
        done = progress._replace(done=True)
        with engine.begin() as connection:
            move_import(connection, progress, done)
    report(done, file.size)
    return done


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Rows are many objects that live shortly and hold no circles: looking for circles among them every 700
    takes as long as making them. And whoever waits for the server gets the interpreter back soon."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(500_000, 10, 10)
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


def rejected_file(name: str) -> Path:
    """Where a file's rejected rows go: beside it, or, of a file in a store, into the working directory."""
    place = Path(name.rpartition("/")[2]) if "://" in name else Path(name)
    return place.with_name(place.name + ".rejected.ndjson")


def _commit(
    engine: Engine, before: Progress, batch: Batch, aside: _Aside, rules: Rules, ahead: Ahead
) -> Progress:
    size = aside.write(batch.rejected)
    if batch.ahead is None:
        batch = sealed(engine, batch, ahead.how)
    with engine.begin() as connection:
        for item in batch.aside:
            put_aside(connection, item)
        taken, known = _append(connection, batch, rules, ahead)
        progress = before._replace(
            number=batch.number,
            taken=before.taken + taken,
            known=before.known + known,
            rejected=before.rejected + len(batch.rejected),
            rejected_bytes=size,
        )
        move_import(connection, before, progress)
        failpoint("import.before_commit")
    failpoint("import.committed")
    return progress


def _append(connection: Connection, batch: Batch, rules: Rules, ahead: Ahead) -> tuple[int, int]:
    """How many were taken in, and how many were known."""
    if batch.ahead is not None and append_ahead(connection, batch.ahead):
        return batch.ahead.rows.size, 0
    entries = batch.entries if batch.ahead is None else open_ahead(batch.ahead)
    appended = append(connection, entries, rules=rules).appended
    known = sum(not one.new for one in appended)
    if batch.ahead is not None:
        ahead.in_vain(known)
    return len(appended) - known, known


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
