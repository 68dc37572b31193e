"""The processes of a rebuild, the command's own among them: each takes the next part that nobody has."""

from __future__ import annotations

import atexit
import gc
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from runtime.child_process import end_with_parent, nothing_to_import
from runtime.failpoints import failpoint
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.work import Setting, Worker

#: So many objects may be left by parts before it is looked which of them nobody has any more.
_UNCOLLECTED: Final = 200_000
#: In the file of the counts: parts that are taken, and rows that are done.
_COUNTS: Final = struct.Struct("qq")

Parts = Callable[[str, Sequence[int]], Iterator[int]]


class _Shared:
    """What the processes of a rebuild share: how many of the parts are taken, and the rows that were done. In a file,
    as the system takes a file's lock from whoever is killed."""

    def __init__(self, home: Path) -> None:
        self._file = home / "taken"

    def begin(self) -> None:
        self._file.write_bytes(_COUNTS.pack(0, 0))

    def end(self) -> None:
        """Has nobody take another part."""
        self._change(lambda _, rows: (sys.maxsize // 2, rows))

    @property
    def rows(self) -> int:
        return self._change(lambda *counts: counts)[1]

    def work(self, worker: Worker, name: str, numbers: Sequence[int]) -> Iterator[int]:
        """Does part after part, as long as there are any; before each, the rows that all have done so far."""
        rows = 0
        while True:
            place, done = self._next(rows)
            yield done
            if place >= len(numbers):
                return
            rows = getattr(worker, name)(numbers[place])
            _collect()

    def _next(self, more: int) -> tuple[int, int]:
        place, rows = self._change(lambda place, rows: (place + 1, rows + more))
        return place, rows + more

    def _change(self, change: Callable[[int, int], tuple[int, int]]) -> tuple[int, int]:
        """Changes both counts at once; what they were."""
        with self._file.open("r+b", buffering=0) as file:
            flock(file, LOCK_EX)
            failpoint("rebuild.taking")
            counts = _COUNTS.unpack(file.read(_COUNTS.size))
            file.seek(0)
            file.write(_COUNTS.pack(*change(*counts)))
        return counts


@contextmanager
def workers(setting: Setting, jobs: int) -> Iterator[Parts]:
    """Has parts done by so many processes: `parts(name, numbers)` yields how many rows more were done. The others
    load what they need while this one is at work already. Raises `RebuildError` where one of them was killed."""
    shared = _Shared(setting.home)
    worker = Worker(setting)
    others = ProcessPoolExecutor(max(jobs - 1, 1), get_context("spawn"), _open, (setting, os.getpid()))

    def parts(name: str, numbers: Sequence[int]) -> Iterator[int]:
        shared.begin()
        helping = [others.submit(_help, name, numbers) for _ in range(min(jobs, len(numbers)) - 1)]
        told = 0
        for done in shared.work(worker, name, numbers):
            told, more = done, done - told
            yield more
            for each in helping:
                # Done before all are taken: it has failed.
                if each.done():
                    each.result()
        for each in helping:
            each.result()
        yield shared.rows - told

    gc.disable()
    shared.begin()
    if jobs > 1:
        with nothing_to_import():
            # Whatever is asked for first has all of them begin.
            others.submit(os.getpid)
    try:
        yield parts
    except BrokenProcessPool as error:
        raise RebuildError(
            f"one of the {jobs} processes of the rebuild was killed, as the system does where memory runs out; run the"
            " same command again, and it goes on where it was; with fewer --jobs it takes less memory"
        ) from error
    finally:
        gc.enable()
        shared.end()
        others.shutdown(cancel_futures=True)
        worker.close()


_hands: tuple[Worker, _Shared] | None = None


def _open(setting: Setting, parent: int) -> None:
    global _hands
    end_with_parent(parent)
    # The command waits for its end, and taking apart what this process remembers takes up to a second.
    atexit.register(os._exit, 0)
    gc.disable()
    _hands = Worker(setting), _Shared(setting.home)


def _help(name: str, numbers: Sequence[int]) -> None:
    assert _hands is not None
    worker, shared = _hands
    for _ in shared.work(worker, name, numbers):
        pass


def _collect() -> None:
    """Between parts, since the collector would walk the whole state again and again during one; and only where that is
    of use: what a part has made goes with it, but for what is in a circle."""
    if gc.get_count()[0] > _UNCOLLECTED:
        gc.collect()
