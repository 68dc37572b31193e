"""The demo as a user runs it: a command in a home of its own, watched and killed from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg

from runtime.engines import running


def demo_command(users: int) -> list[str]:
    return [sys.executable, "-m", "runtime.cli", "demo", "--users", str(users)]


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROUNDTRIP_")}
    return kept | {"ROUNDTRIP_HOME": str(home), "COLUMNS": "100"}


def start(home: Path, users: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        demo_command(users),
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(home: Path, users: int) -> tuple[int, str]:
    """The demo from here to its end: exit code and output."""
    done = subprocess.run(
        demo_command(users), env=environment(home), capture_output=True, text=True, check=False, timeout=110
    )
    return done.returncode, done.stdout + done.stderr


def roundtrip(home: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "runtime.cli", *arguments]
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def log_position(home: Path) -> int:
    """The log's last position, 0 while there is no log yet."""
    engines = running(home)
    if engines is None:
        return 0
    try:
        with psycopg.connect(engines.database_url.replace("+psycopg", "")) as connection:
            row = connection.execute("SELECT position FROM log_head").fetchone()
    except psycopg.Error:
        return 0
    return int(row[0]) if row else 0


def reached(process: subprocess.Popen[str], home: Path, position: int) -> bool:
    """Whether the log has passed this position. A demo that has ended by itself fails the test with its output."""
    assert process.poll() is None, process.communicate()[0]
    return log_position(home) > position


def tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """A process and all below it."""
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def kill_tree(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """`kill -9` of the whole tree; the processes that were killed."""
    killed = tree(process)
    for one in killed:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return killed
