"""Verifying the log: stretches of the chain checked side by side, and then put together in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final, NamedTuple

from sqlalchemy import Engine

from adapters.database import open_database
from adapters.log.chain import (
    ChainHead,
    Checked,
    Fault,
    batch_end,
    check_stretch,
    newest_chain_head,
    read_chain_head,
    rows_above,
)
from domain.mendable import Mendable
from runtime.child_process import end_with_parent, nothing_to_import

#: Rows in one stretch, which one process checks at a time.
STRETCH_ROWS: Final = 50_000

_engine: Engine | None = None


class VerifyEndedError(Mendable):
    """The log was not verified to its end, and nothing is known to be wrong with it."""


class Verified(NamedTuple):
    """What was verified, up to which head; `fault` is the first thing that is wrong."""

    rows: int
    batches: int
    head: ChainHead
    fault: Fault | None


def verify_log(
    url: str,
    progress: Callable[[int, int], None],
    *,
    first: int = 1,
    last: int | None = None,
    jobs: int = 1,
    witnessed: Iterable[ChainHead] = (),
) -> Verified:
    """Checks every batch that holds a position from `first` to `last` (the log's end), and the witnessed heads.

    `progress` is told how many positions are done, and of how many. Memory does not grow with the log. Raises
    `VerifyEndedError` where one of the processes was killed.
    """
    engine = open_database(url, application="verify")
    try:
        with engine.begin() as connection:
            head = read_chain_head(connection)
            end = head.position if last is None else batch_end(connection, min(last, head.position))
            before = newest_chain_head(connection, max(first, 1) - 1)
        start = before.position if before else 0
        rows = batches = 0
        digest = before.digest if before else b""
        reached = start
        with _checker(url, jobs if end - start > STRETCH_ROWS else 1) as check:
            for upto, checked in check(_stretches(engine, start, end)):
                rows, batches = rows + checked.rows, batches + checked.batches
                fault = checked.fault
                if fault is None and checked.previous != digest:
                    what = f"the recorded digest of the batch that ends at {reached} was altered meanwhile"
                    fault = Fault(reached, None, "altered", what)
                if fault is not None:
                    return Verified(rows, batches, head, fault)
                digest, reached = checked.digest, upto
                progress(reached - start, end - start)
        with engine.begin() as connection:
            fault = _end_fault(head, digest, end) or rows_above(connection)
        fault = fault or witness_fault(engine, head, witnessed)
        return Verified(rows, batches, head if end == head.position else ChainHead(end, 0, digest), fault)
    finally:
        engine.dispose()


def witness_fault(engine: Engine, head: ChainHead, witnessed: Iterable[ChainHead]) -> Fault | None:
    """The first witnessed head that the log no longer agrees with, in the order of the witness."""
    for seen in witnessed:
        if seen.position > head.position:
            what = f"a witness holds a head at position {seen.position}, and the log ends at {head.position}"
            return Fault(head.position + 1, None, "truncated", what)
        with engine.begin() as connection:
            now = newest_chain_head(connection, seen.position)
        if now is None or now.position != seen.position or now.digest != seen.digest:
            what = f"the log was rewritten at or before position {seen.position}: a witness holds another head there"
            return Fault(seen.position, None, "rewritten", what)
    return None


def _end_fault(head: ChainHead, digest: bytes, end: int) -> Fault | None:
    if end < head.position or digest == head.digest:
        return None
    return Fault(
        end, None, "altered", f"the head's digest is not that of the batch that ends at position {end}"
    )


def _stretches(engine: Engine, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches that begin and end with a batch."""
    while start < end:
        with engine.begin() as connection:
            upto = min(batch_end(connection, min(start + STRETCH_ROWS, end)), end)
        yield start, upto
        start = upto


Check = Callable[[Iterator[tuple[int, int]]], Iterator[tuple[int, Checked]]]


@contextmanager
def _checker(url: str, jobs: int) -> Iterator[Check]:
    """Checks stretches, in `jobs` processes; the results come in order."""
    if jobs == 1:
        _open(url, None)
        try:
            yield lambda stretches: ((one[1], _check(one)) for one in stretches)
        finally:
            _close()
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _open, (url, os.getpid()))
    try:
        with nothing_to_import():
            # Whatever is asked for first has a process begin.
            for _ in range(jobs):
                pool.submit(os.getpid)
        yield lambda stretches: _ahead(pool, stretches, jobs)
    except BrokenProcessPool as error:
        raise VerifyEndedError(
            f"one of the {jobs} processes that verified the log was killed, as the system does where memory runs out;"
            " run the same command again, with fewer --jobs if need be"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ProcessPoolExecutor, stretches: Iterator[tuple[int, int]], jobs: int
) -> Iterator[tuple[int, Checked]]:
    """A few stretches are in work, and no more, however long the log is."""
    waiting = []
    for stretch in stretches:
        waiting.append((stretch[1], pool.submit(_check, stretch)))
        if len(waiting) > 2 * jobs:
            upto, future = waiting.pop(0)
            yield upto, future.result()
    for upto, future in waiting:
        yield upto, future.result()


def _open(url: str, parent: int | None) -> None:
    global _engine
    if parent is not None:
        end_with_parent(parent)
    _engine = open_database(url, application="verify", pool_size=1)


def _close() -> None:
    if _engine is not None:
        _engine.dispose()


def _check(stretch: tuple[int, int]) -> Checked:
    assert _engine is not None
    with _engine.begin() as connection:
        return check_stretch(connection, *stretch)
