"""Reading a file in a process of its own, so that its rows are read and mapped while those before are written.

In threads of one process the two would wait for each other: both are at work in Python for most of the time.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Final, NamedTuple

from adapters.files import File, Options, open_file
from adapters.keys.making import SealedAhead, seal_ahead
from adapters.keys.management import KeyManagement
from domain.identity_rules import Rules
from domain.records import Entry
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from runtime.child_process import end_with_parent, nothing_to_import
from runtime.collector import spare_the_collector
from runtime.import_batches import Batch, batches

#: A file of fewer bytes is read before the process has begun.
WORTH_A_PROCESS: Final = 1024 * 1024
#: Batches that are read ahead of those that are written.
_AHEAD: Final = 2
_entry: Final[Callable[[Iterable[Any]], Entry]] = partial(tuple.__new__, Entry)


class Asked(NamedTuple):
    """Which rows of which file as which records: what `batches` is told."""

    name: str
    kind: str
    options: Options
    digest: str
    feed: str
    mapping: Mapping
    began_at: int
    after: int
    rules: Rules
    keys: KeyManagement

    @classmethod
    def of(
        cls,
        file: File,
        feed: str,
        mapping: Mapping,
        began_at: int,
        after: int,
        rules: Rules,
        keys: KeyManagement,
    ) -> Asked:
        return cls(
            file.name, file.kind, file.options, file.digest, feed, mapping, began_at, after, rules, keys
        )


class _Handed(NamedTuple):
    """A batch on its way between the processes: columns, since rows take three times as long to be written. `keys` are
    there where the states are sealed: `secrets` and `rows` of `SealedAhead`."""

    number: int
    columns: Sequence[Sequence[Any]]
    rejected: Sequence[Rejected]
    read: int
    keys: tuple[bytes, Sequence[bytes]] | None

    @classmethod
    def of(cls, batch: Batch) -> _Handed:
        entries, keys = batch.entries, None
        if batch.ahead is not None:
            entries, keys = batch.ahead.entries, (batch.ahead.secrets, batch.ahead.rows)
        return cls(batch.number, tuple(zip(*entries, strict=True)), batch.rejected, batch.read, keys)

    @property
    def batch(self) -> Batch:
        entries = list(map(_entry, zip(*self.columns, strict=True)))
        if self.keys is None:
            return Batch(self.number, entries, self.rejected, (), self.read)
        return Batch(self.number, (), self.rejected, (), self.read, SealedAhead(entries, *self.keys))


class Reader:
    """The process, which begins where it is first asked for something. One file is read at a time.

    Until `seals` is set to false, it also seals what it has read, as if all of it were of people who are new: so the
    two processes have about as much to do.
    """

    def __init__(self) -> None:
        self.seals = True
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), _start, (os.getpid(),))

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def pid(self) -> int:
        """The process. It begins where there is none yet."""
        with nothing_to_import():
            return self._pool.submit(os.getpid).result()

    def batches(self, asked: Asked) -> Iterator[Batch]:
        """As `runtime.import_batches.batches`. Raises `FileError`."""
        # Of somebody without a user, the log says who it was.
        self.seals = not asked.rules.most_recent_user
        with nothing_to_import():
            ahead: deque[Future[_Handed | None]] = deque([self._pool.submit(_begin, asked, self.seals)])
        try:
            while (handed := ahead.popleft().result()) is not None:
                ahead += [self._pool.submit(_next, self.seals) for _ in range(_AHEAD - len(ahead))]
                yield handed.batch
        except BrokenProcessPool as error:
            raise FileError(
                f"{asked.name}: the process that read it has ended; run the import again"
            ) from error


_open: ExitStack = ExitStack()
_found: Iterator[Batch] = iter(())
_keys: KeyManagement


def _start(parent: int) -> None:
    end_with_parent(parent)
    spare_the_collector()


def _begin(asked: Asked, seals: bool) -> _Handed | None:
    """Opens the file; its first batch."""
    global _found, _keys
    _open.close()
    file = _open.enter_context(open_file(asked.name, asked.kind, asked.options))
    if file.digest != asked.digest:
        raise FileError(f"{asked.name}: was changed while it was imported; run the import again")
    _found = batches(file, asked.feed, asked.mapping, asked.began_at, asked.after, None, asked.rules)
    _keys = asked.keys
    return _next(seals)


def _next(seals: bool) -> _Handed | None:
    batch = next(_found, None)
    if batch is None:
        _open.close()
        return None
    if seals:
        batch = batch._replace(entries=(), ahead=seal_ahead(_keys, batch.entries))
    return _Handed.of(batch)
