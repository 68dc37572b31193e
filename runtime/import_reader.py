"""Reading a file in a process of its own, so that its rows are read and mapped while those before are written.

In threads of one process the two would wait for each other: both are at work in Python for most of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine

from adapters.database import open_database
from adapters.files import File, Options, open_file
from adapters.keys.management import KeyManagement
from domain.identity_rules import Rules
from domain.records import Entry
from feeds.mapping import Mapping
from feeds.rows import FileError
from runtime.import_batches import Batch, batches
from runtime.import_sealing import Ahead, How, sealed
from runtime.worker import Worker, WorkerEndedError

#: A file of fewer bytes is read before the process has begun.
WORTH_A_PROCESS: Final = 1024 * 1024
#: Batches that are read ahead of those that are written.
_AHEAD: Final = 2
_entry: Final[Callable[[Iterable[Any]], Entry]] = partial(tuple.__new__, Entry)


class Sealing(NamedTuple):
    """Where the keys are that states are sealed under, and what wraps them."""

    url: str
    keys: KeyManagement


class Asked(NamedTuple):
    """Which rows of which file as which records: what `batches` is told. With `sealing`, they are also sealed."""

    name: str
    kind: str
    options: Options
    digest: str
    feed: str
    mapping: Mapping
    began_at: int
    after: int
    rules: Rules
    sealing: Sealing | None

    @classmethod
    def of(
        cls,
        file: File,
        feed: str,
        mapping: Mapping,
        began_at: int,
        after: int,
        rules: Rules,
        sealing: Sealing | None = None,
    ) -> Asked:
        return cls(
            file.name, file.kind, file.options, file.digest, feed, mapping, began_at, after, rules, sealing
        )


class _Handed(NamedTuple):
    """A batch on its way between the processes: its entries as columns, since rows take three times as long to be
    written."""

    batch: Batch
    columns: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, batch: Batch) -> _Handed:
        return cls(batch._replace(entries=()), tuple(zip(*batch.entries, strict=True)))

    def unpacked(self) -> Batch:
        return self.batch._replace(entries=list(map(_entry, zip(*self.columns, strict=True))))


class Reader:
    """The process, which begins where it is first asked for something. One file is read at a time.

    Where it is told by which keys, it also seals what it has read while whoever writes has enough to do: so both have
    about as much to do, whatever reading costs.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.end()

    @property
    def pid(self) -> int:
        """The process. It begins where there is none yet."""
        return self._at_work().pid

    def _at_work(self) -> Worker:
        if self._worker is None:
            self._worker = Worker()
        return self._worker

    def batches(self, asked: Asked, ahead: Ahead | None = None) -> Iterator[Batch]:
        """As `runtime.import_batches.batches`, some of them sealed as `ahead` says. Raises `FileError`."""
        worker = self._at_work()
        asked_for: deque[Future[_Handed | None]] = deque([worker.ask(_begin, asked)])
        try:
            while (handed := asked_for.popleft().result()) is not None:
                # Who is not waited for has the time to seal the next one.
                idle = all(one.done() for one in asked_for)
                how = ahead.how if ahead is not None and idle else None
                asked_for += [worker.ask(_next, how) for _ in range(_AHEAD - len(asked_for))]
                yield handed.unpacked()
        except WorkerEndedError as error:
            raise FileError(
                f"{asked.name}: the process that read it has ended; run the import again"
            ) from error


_open: ExitStack = ExitStack()
_found: Iterator[Batch] = iter(())
_engine: Engine | None = None


def _begin(asked: Asked) -> _Handed | None:
    """Opens the file; its first batch."""
    global _found, _engine
    _open.close()
    file = _open.enter_context(open_file(asked.name, asked.kind, asked.options))
    if file.digest != asked.digest:
        raise FileError(f"{asked.name}: was changed while it was imported; run the import again")
    _found = batches(file, asked.feed, asked.mapping, asked.began_at, asked.after, None, asked.rules)
    _engine = None
    if asked.sealing is not None:
        url, keys = asked.sealing
        _engine = open_database(url, application="import, reader", keys=keys, pool_size=1)
        _open.callback(_engine.dispose)
    return _next(None)


def _next(how: How) -> _Handed | None:
    batch = next(_found, None)
    if batch is None:
        _open.close()
        return None
    return _Handed.of(batch if _engine is None else sealed(_engine, batch, how))
