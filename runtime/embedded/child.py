"""Starts a child that cannot outlive the process that starts it, not even after a `kill -9`. Linux only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.embedded.account import Account
from runtime.embedded.errors import EmbeddedError

_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")


def start_child(
    argv: Sequence[str],
    *,
    death_signal: signal.Signals,
    log: int,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, with its output appended to the descriptor `log`.

    `argv[0]` is an absolute path. The child gets `death_signal` when this process dies; its own children do
    not. `account` is the user to run as, `inherited` are descriptors that stay open in the child.

    Raises EmbeddedError elsewhere than on Linux and in any thread but the main one: Linux sends the death
    signal when the starting *thread* ends, so a child of a short-lived thread would be stopped at once.
    """
    if not sys.platform.startswith("linux"):
        raise EmbeddedError(
            f"platform {sys.platform}: only Linux can end a child together with its parent; "
            "run Roundtrip in its container (docker compose up)"
        )
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedError(
            f"thread {threading.current_thread().name}: a child process dies with the thread that starts it; "
            f"start {Path(argv[0]).name} from the main thread"
        )
    identity = f"{account.uid}:{account.gid}" if account else "-"
    launcher = [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT)]
    return subprocess.Popen(  # noqa: S603 - the programs are ours, and no shell is involved
        [*launcher, str(os.getpid()), str(int(death_signal)), identity, *argv],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        pass_fds=inherited,
        start_new_session=True,
    )


def ended(child: subprocess.Popen[bytes], *, within: float) -> bool:
    """Whether the child ends within so many seconds; it is waited for, and reaped."""
    try:
        child.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def stop_child(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal and give it its seconds, until the child has ended; SIGKILL comes after the last."""
    for number, seconds in steps:
        if child.poll() is not None:
            return
        child.send_signal(number)
        if ended(child, within=seconds):
            return
    child.kill()
    child.wait()
