"""The processes of a rebuild, the command's own among them: each takes the next part that nobody has."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from typing import Final

from runtime.child_process import end_with_parent, nothing_to_import
from runtime.rebuild.work import Setting, Worker

#: So many objects may be left by parts before it is looked which of them nobody has any more.
_UNCOLLECTED: Final = 200_000

Parts = Callable[[str, Sequence[int]], Iterator[int]]


class _Shared:
    """What the processes of a rebuild share: how many of the parts are taken, and the rows that were done."""

    def __init__(self, context: BaseContext) -> None:
        self._taken = context.Value("q", 0)
        self._rows = context.Value("q", 0)

    def begin(self) -> None:
        self._taken.value = self._rows.value = 0

    def end(self) -> None:
        """Has nobody take another part."""
        self._taken.value = sys.maxsize // 2

    @property
    def rows(self) -> int:
        return int(self._rows.value)

    def work(self, worker: Worker, name: str, numbers: Sequence[int]) -> Iterator[None]:
        """Does part after part, as long as there are any."""
        while (number := self._next(numbers)) is not None:
            rows = getattr(worker, name)(number)
            _collect()
            with self._rows:
                self._rows.value += rows
            yield

    def _next(self, numbers: Sequence[int]) -> int | None:
        with self._taken:
            place = self._taken.value
            self._taken.value += 1
        return numbers[place] if place < len(numbers) else None


@contextmanager
def workers(setting: Setting, jobs: int) -> Iterator[Parts]:
    """Has parts done by so many processes: `parts(name, numbers)` yields how many rows more were done. The others begin
    while this one is at work already."""
    context = get_context("spawn")
    shared = _Shared(context)
    worker = Worker(setting)
    others = ProcessPoolExecutor(max(jobs - 1, 1), context, _open, (setting, shared, os.getpid()))

    def parts(name: str, numbers: Sequence[int]) -> Iterator[int]:
        shared.begin()
        with nothing_to_import():
            helping = [others.submit(_help, name, numbers) for _ in range(min(jobs, len(numbers)) - 1)]
        told = 0
        for _ in shared.work(worker, name, numbers):
            told, more = shared.rows, shared.rows - told
            yield more
            for each in helping:
                # Done before all are taken: it has failed.
                if each.done():
                    each.result()
        for each in helping:
            each.result()
        yield shared.rows - told

    gc.disable()
    try:
        yield parts
    finally:
        gc.enable()
        shared.end()
        others.shutdown(cancel_futures=True)
        worker.close()


_hands: tuple[Worker, _Shared] | None = None


def _open(setting: Setting, shared: _Shared, parent: int) -> None:
    global _hands
    end_with_parent(parent)
    gc.disable()
    _hands = Worker(setting), shared


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
