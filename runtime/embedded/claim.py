"""Who may use a server's directory? One living supervisor, and only after every earlier server has ended.

Two locks: `<server>.lock` is held by the supervisor alone, `<server>.running` is inherited by the server and
all its children. So a held first lock means another supervisor, and a held second one means the remains of a
supervisor that was killed. Both fall with their last holder, so nothing is ever stale.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from runtime.embedded.errors import EmbeddedError, HeldError

GRACE = 5.0
"""Seconds that a server without a supervisor gets to end by itself, before it is ended."""

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Remains:
    """How to recognise the processes of one server, and the signal that ends them at once without harm."""

    directory: Path
    program: str
    signal: signal.Signals


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one server. `running` is the descriptor that the server must inherit."""

    supervisor: int
    running: int

    def release(self) -> None:
        os.close(self.running)
        os.close(self.supervisor)


def lock(path: Path, what: str) -> int:
    """Take the lock file `path` and return its descriptor; closing it, or dying, releases the lock.

    Raises HeldError naming the process that has it: `what` says what that process runs.
    """
    descriptor = _try_lock(path)
    if descriptor is None:
        holder = path.read_text().strip() or "unknown"
        raise HeldError(
            f"{path}: process {holder} already runs {what} here, and only one may; "
            f"stop it (kill {holder}) or set ROUNDTRIP_HOME to another directory"
        )
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def claim(home: Path, server: str, remains: Remains, *, patience: float = 30.0) -> Claim:
    """Take both locks of `server` in `home`; wait up to `patience` seconds for what a killed run left.

    Raises HeldError at once when another supervisor runs the server, and EmbeddedError naming the processes
    that are still there when the time is up.
    """
    supervisor = lock(home / f"{server}.lock", server)
    try:
        return Claim(supervisor, _wait_for_end(home / f"{server}.running", remains, patience))
    except BaseException:
        os.close(supervisor)
        raise


def processes_of(remains: Remains) -> list[psutil.Process]:
    """The living processes of a server: those of its program that work in its directory."""
    directory = str(remains.directory)
    return [
        process
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == remains.program and process.info["cwd"] == directory
    ]


def _wait_for_end(path: Path, remains: Remains, patience: float) -> int:
    began, ending = time.monotonic(), False
    while (descriptor := _try_lock(path)) is None:
        waited = time.monotonic() - began
        if waited > patience:
            pids = " ".join(str(process.pid) for process in processes_of(remains)) or "unknown"
            raise EmbeddedError(
                f"{path}: {remains.program} (processes {pids}) of an earlier run has not ended within "
                f"{patience:.0f} s; end it (kill -KILL {pids}) and start again"
            )
        if waited > GRACE and not ending:
            ending = True
            for process in processes_of(remains):
                process.send_signal(remains.signal)
        time.sleep(_POLL)
    return descriptor


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedError(
            f"{path}: cannot be opened for writing ({error.strerror}); "
            "run as the user who owns that directory, or set ROUNDTRIP_HOME to one of your own"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
