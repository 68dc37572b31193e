"""A whole Roundtrip of its own for a benchmark: `roundtrip up` in a temporary home, and what it costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


class Platform:
    """A running Roundtrip. `environment` is that of its processes."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes], environment: Mapping[str, str]) -> None:
        self.home = home
        self.url: str = json.loads((home / "http.json").read_text())["url"]
        self.token = (home / "api-token").read_text().strip()
        self.process_id = process.pid
        self.environment = environment

    def status(self) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/v1/status", headers={"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def processor_seconds(self) -> dict[str, float]:
        """Processor time so far, by part. PostgreSQL's is that of all its processes."""
        spent: dict[str, float] = {}
        for process in psutil.Process(self.process_id).children(recursive=True):
            try:
                name = _part(process.cmdline())
                times = process.cpu_times()
            except (psutil.NoSuchProcess, IndexError):
                continue
            spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent


def _part(command: list[str]) -> str:
    words = " ".join(command)
    for name, mark in (
        ("NATS", "nats-server"),
        ("PostgreSQL", "postgres"),
        ("HTTP API, append", "runtime.cli serve"),
        ("pipeline", "runtime.cli pipeline"),
        ("relay", "runtime.cli relay"),
        ("delivery", "runtime.cli deliver"),
    ):
        if mark in words:
            return name
    return "other"


@contextmanager
def platform(workspace: Path, environment: Mapping[str, str], home: Path | None = None) -> Iterator[Platform]:
    """Starts everything in a home of its own, or this one, with engines of its own unless the `environment` names some,
    and removes it afterwards."""
    home = home or Path(tempfile.mkdtemp(prefix="roundtrip-bench-"))
    home.chmod(0o755)
    ours = ("ROUNDTRIP_DATABASE_URL", "ROUNDTRIP_NATS_URL", "ROUNDTRIP_API_TOKEN")
    environ = {
        **{name: value for name, value in os.environ.items() if name not in ours},
        "ROUNDTRIP_HOME": str(home),
        "ROUNDTRIP_HTTP": "127.0.0.1:0",
        **environment,
    }
    command = [sys.executable, "-m", "runtime.cli", "up", "--workspace", str(workspace)]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _up(home, process), "Roundtrip to be up")
        yield Platform(home, process, environ)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            shutil.rmtree(home, ignore_errors=True)


def wait_for(holds: Any, what: str, seconds: float = 300.0) -> None:
    """Waits for a condition. Raises `TimeoutError` naming what did not come."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _up(home: Path, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise SystemExit(f"`roundtrip up` ended with exit code {process.returncode}")
    if not (home / "http.json").exists():
        return False
    try:
        status = Platform(home, process, {}).status()
    except (urllib.error.URLError, ConnectionError):
        return False
    return bool(status["log"]["position"]) and not status["readers"]["pipeline"]["lag"]
