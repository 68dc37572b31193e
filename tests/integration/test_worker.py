"""The process that answers one thing after the other: large answers, what it does in between, what it raises, and
that it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from runtime.worker import Worker, WorkerEndedError

_steps: int = 0


def step() -> bool:
    """Three steps, and then there is nothing to do."""
    global _steps
    if _steps == 3:
        return False
    _steps += 1
    return True


def steps() -> int:
    return _steps


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(step)
    yield worker
    worker.end()
    assert not psutil.pid_exists(worker.pid)


def test_it_goes_on_while_it_is_asked_for_nothing(worker: Worker) -> None:
    while worker.ask(steps) < 3:
        assert psutil.pid_exists(worker.pid)
    assert worker.ask(steps) == 3


def test_answers_come_in_order_and_may_be_large(worker: Worker) -> None:
    sizes = (0, 5_000_000, 3, 2_000_000)
    assert [len(worker.ask(bytes, size)) for size in sizes] == list(sizes)
    assert worker.ask(os.getpid) == worker.pid != os.getpid()


def test_what_it_raises_is_raised_here_with_where_that_was_and_it_goes_on(worker: Worker) -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        worker.ask(int, "x")
    assert "runtime/worker.py" in "".join(raised.value.__notes__)
    assert worker.ask(int, "7") == 7


class Odd(Exception):
    """One that is pickled, and cannot be made again of what that says."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def odd() -> None:
    raise Odd("this", "that")


def test_what_cannot_be_handed_over_is_told_in_words_and_it_goes_on(worker: Worker) -> None:
    with pytest.raises(RuntimeError, match="Odd: this and that"):
        worker.ask(odd)
    assert worker.ask(int, "7") == 7


def test_that_it_was_killed_is_told_and_it_can_still_be_ended(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(WorkerEndedError):
            worker.ask(int, "7")
