"""The supervisor: runs the parts as child processes, restarts those that crash, and leaves none behind.

A part dies with the supervisor, whatever kills it: Linux sends it SIGKILL then, which every part must
survive anyway. So a part starts no process of its own, unless by `start_child`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Protocol

from runtime.embedded.child import start_child
from runtime.embedded.claim import lock
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.logfile import open_log

GRACE = 10.0
"""Seconds that all parts together get to end after SIGTERM."""

STABLE = 60.0
"""Seconds a part must run for its next crash to count as the first one."""

_POLL = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Part:
    """One process to run: `argv[0]` is an absolute path, `env` is added to this process's environment."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """What can be watched, as the embedded PostgreSQL and NATS.

    `poll` gives the exit code once it has ended (negative: the signal), `start` runs it again.
    """

    name: str
    log: Path

    def poll(self) -> int | None: ...
    def start(self) -> None: ...


def pause(crashes: int) -> float:
    """Seconds to wait before the restart that follows so many crashes in a row (at least 1)."""
    return min(0.5 * 2.0 ** min(crashes - 1, 10), 30.0)


def run_parts(
    parts: Sequence[Part],
    *,
    stop: Event,
    home: Path,
    engines: Sequence[Engine] = (),
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Run all parts until `stop` is set by someone, or by SIGINT, SIGTERM or SIGHUP; then end them.

    What crashes is started again after a growing pause, with one line to `report`. `engines` are watched and
    restarted too, but not stopped: that is for whoever started them. Output goes to `<home>/log/<part>.log`.
    Main thread only.
    """
    processes = [_Process(part, home) for part in parts]
    watched = [_Watched(each) for each in [*engines, *processes]]
    try:
        with _set_on_signals(stop):
            for process in processes:
                process.start()
            while not stop.is_set():
                for each in watched:
                    each.look(time.monotonic(), report)
                # Not stop.wait: a signal handler that sets an event on which this thread waits can deadlock.
                time.sleep(_POLL)
            for process in reversed(processes):
                process.ask_to_end()
            deadline = time.monotonic() + GRACE
            for process in reversed(processes):
                if not process.ended_by(deadline):
                    report(f"{process.name} has not ended within {GRACE:g} s of SIGTERM; it is killed")
    finally:
        for process in processes:
            process.kill()


@contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Be the only supervisor of `home`. Raises HeldError naming the other one's process."""
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = lock(home / "supervisor.lock", "Roundtrip")
    try:
        yield
    finally:
        os.close(descriptor)


class _Process:
    """A part as a child process, in a process group of its own."""

    def __init__(self, part: Part, home: Path) -> None:
        self.name = part.name
        self.log = home / "log" / f"{part.name}.log"
        self._part = part
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open_log(self.log) as log:
            self._child = start_child(
                self._part.argv,
                death_signal=signal.SIGKILL,
                log=log,
                cwd=Path.cwd(),
                env={**os.environ, **self._part.env},
            )

    def poll(self) -> int | None:
        child = self._child
        if child is None or child.returncode is not None:
            return child.returncode if child else 0
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        # Before it is reaped, since until then its number cannot mean another group.
        _kill_group(child.pid)
        return child.wait()

    def ask_to_end(self) -> None:
        if self._child and self.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def ended_by(self, deadline: float) -> bool:
        while self.poll() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def kill(self) -> None:
        if self._child and self.poll() is None:
            _kill_group(self._child.pid)
            self._child.wait()


class _Watched:
    """Decides when something that ended is started again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started = time.monotonic()
        self._crashes = 0
        self._restart_at: float | None = None

    def look(self, now: float, report: Callable[[str], None]) -> None:
        if self._restart_at is None:
            code = self._engine.poll()
            if code is not None:
                self._plan(now, f"{self._engine.name} {_meaning(code)}", report)
        elif now >= self._restart_at:
            self._restart_at, self._started = None, now
            try:
                self._engine.start()
            except (EmbeddedError, OSError) as error:
                reason = str(error).partition("\n")[0]
                self._plan(now, f"{self._engine.name} cannot start: {reason}", report)

    def _plan(self, now: float, what: str, report: Callable[[str], None]) -> None:
        self._crashes = 1 if now - self._started > STABLE else self._crashes + 1
        seconds = pause(self._crashes)
        self._restart_at = now + seconds
        report(f"{what}; starting it again in {seconds:g} s (log: {self._engine.log})")


def _meaning(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@contextmanager
def _set_on_signals(stop: Event) -> Iterator[None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
