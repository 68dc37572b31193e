"""A command of `roundtrip` as a user runs it, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import NamedTuple

import psutil


class Run(NamedTuple):
    """One run: seconds by the clock, of processor, and the most memory of all its processes together in MB."""

    wall: float
    processor: float
    memory: float


def run_command(home: Path, url: str, keys: str, *words: str, pause: float) -> Run:
    """Runs `roundtrip` with these words, and looks at its memory every `pause` seconds. A look takes 12 ms of a
    processor, which a command whose time counts may need for itself."""
    environment = os.environ | {
        "ROUNDTRIP_HOME": str(home),
        "ROUNDTRIP_DATABASE_URL": url,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:4222",
        "ROUNDTRIP_MASTER_KEY": keys,
    }
    command = [sys.executable, "-m", "runtime.cli", *words]
    began, ended = time.perf_counter(), Event()
    with TemporaryFile("w+") as said, ThreadPoolExecutor(1) as watcher:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        memory = watcher.submit(_most_memory, process.pid, ended, pause)
        try:
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        finally:
            ended.set()
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(command[2:])} ended with status {status}: {said.read().strip()}")
    return Run(wall, used.ru_utime + used.ru_stime, memory.result())


def _most_memory(id: int, ended: Event, pause: float) -> float:
    most = 0.0
    while not ended.wait(pause):
        most = max(most, _memory(id))
    return most


def _memory(id: int) -> float:
    """What a process and all below it hold, in MB; what they share is counted once."""
    total = 0
    try:
        root = psutil.Process(id)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        return 0.0
    return total / 1e6
