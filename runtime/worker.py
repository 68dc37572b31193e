"""A process of our own that does one thing after the other, goes on by itself in between, and hands over what is large
without many words.

An executor of `concurrent.futures` with one process does neither: it waits for the next task, and a batch of some
megabytes goes through its pipe of 64 kB in fifty pieces, at each of which both processes wait for each other.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from traceback import format_exception
from typing import Any, Final, TypeVar

from runtime.child_process import end_with_parent, nothing_to_import
from runtime.collector import spare_the_collector

#: Bytes that a pipe holds, where the system lets us: what anybody may have by Linux's default.
_PIPE_BYTES: Final = 1024 * 1024

Answer = TypeVar("Answer")


class WorkerEndedError(Exception):
    """The process has ended before it answered."""


class Worker:
    """The process, which begins as it is made and ends by `end`. Asked for nothing, it does what it is to do
    `meanwhile`, step by step, until that says that there is nothing to do."""

    def __init__(self, meanwhile: Callable[[], bool]) -> None:
        context = get_context("spawn")
        asked, self._requests = context.Pipe(duplex=False)
        self._answers, answering = context.Pipe(duplex=False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with suppress(OSError):
                fcntl.fcntl(self._answers.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._process: SpawnProcess = context.Process(
            target=_work, args=(os.getpid(), asked, answering, meanwhile)
        )
        with nothing_to_import():
            self._process.start()
        # Ours would keep the pipes open when the process has ended.
        asked.close()
        answering.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """What the process answers. Raises what it raises; `WorkerEndedError` where it ends before."""
        try:
            self._requests.send((work, arguments))
            answer, error = _receive(self._answers)
        except (EOFError, OSError) as ended:
            raise WorkerEndedError from ended
        if error is not None:
            raise error
        found: Answer = answer
        return found

    def end(self) -> None:
        """Ends the process, once it is done with the step that it is at work on."""
        self._requests.close()
        # Nobody waits for an answer any more: whoever did was interrupted.
        self._answers.close()
        self._process.join()


def _work(parent: int, asked: Connection, answering: Connection, meanwhile: Callable[[], bool]) -> None:
    end_with_parent(parent)
    spare_the_collector()
    with suppress(EOFError, BrokenPipeError):
        while True:
            while not asked.poll() and meanwhile():
                pass
            work, arguments = asked.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = work(*arguments), None
            except Exception as error:  # noqa: BLE001 (whoever asked gets it)
                answer = None, _told(error)
            _send(answering, answer)


def _send(to: Connection, answer: Any) -> None:
    """Arrays go as they are, behind what is said of them."""
    arrays: list[pickle.PickleBuffer] = []
    said = pickle.dumps(answer, 5, buffer_callback=arrays.append)
    parts = [array.raw() for array in arrays]
    to.send((said, list(map(len, parts))))
    for part in parts:
        while part:
            part = part[os.write(to.fileno(), part) :]


def _receive(of: Connection) -> Any:
    said, sizes = of.recv()
    arrays = [bytearray(size) for size in sizes]
    for array in arrays:
        part = memoryview(array)
        while part:
            read = os.readv(of.fileno(), [part])
            if not read:
                raise EOFError
            part = part[read:]
    return pickle.loads(said, buffers=arrays)  # noqa: S301 (of our own process)


def _told(error: Exception) -> Exception:
    """The error as the other process can have it, and where in this one it was raised, which shows in no traceback of
    the other."""
    try:
        told: Exception = ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # noqa: BLE001 (an error's own ways of being pickled may raise anything)
        told = RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note("".join(format_exception(error)))
    return told
