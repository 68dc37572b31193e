"""Reading a file in a process of its own, so that its rows are read and mapped while those before are written.

In threads of one process the two would wait for each other: both are at work in Python for most of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple

import pyarrow

from domain.records import Entry
from feeds.rows import FileError
from runtime.import_batches import Batch
from runtime.import_reading import Asked, Reading
from runtime.import_sealing import Ahead, How
from runtime.worker import Worker, WorkerEndedError

#: A file of fewer bytes is read before the process has begun.
WORTH_A_PROCESS: Final = 1024 * 1024
_entry: Final[Callable[[Iterable[Any]], Entry]] = partial(tuple.__new__, Entry)


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
    """The process, which begins where it is first asked for something. One file is read at a time."""

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
            self._worker = Worker(_go_on)
        return self._worker

    def batches(self, asked: Asked, ahead: Ahead | None = None) -> Iterator[Batch]:
        """As `runtime.import_batches.batches`, some of them sealed as `ahead` says. Raises `FileError`.

        The process goes on while a batch is written down, and hands the next one over as far as it is done when it is
        asked for."""
        worker = self._at_work()
        try:
            handed = worker.ask(_begin, asked)
            while handed is not None:
                yield handed.unpacked()
                handed = worker.ask(_next, ahead.how if ahead is not None else None)
        except WorkerEndedError as error:
            raise FileError(
                f"{asked.name}: the process that read it has ended; run the import again"
            ) from error


_reading: Reading | None = None


def _begin(asked: Asked) -> _Handed | None:
    """Opens the file; its first batch."""
    global _reading
    _close()
    # Arrow's own allocator keeps 50 MB of what a file's columns took.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    _reading = Reading(asked)
    return _next(None)


def _next(how: How) -> _Handed | None:
    batch = None if _reading is None else _reading.next(how)
    if batch is None:
        _close()
        return None
    return _Handed.of(batch)


def _go_on() -> bool:
    return _reading is not None and _reading.go_on()


def _close() -> None:
    global _reading
    if _reading is not None:
        with _reading:
            _reading = None
