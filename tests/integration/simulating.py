"""What the simulators' tests share: a simulator as a process of its own, and a webhook receiver that records."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from tests.servers import REPOSITORY, wait_until


class Simulator:
    """One run of `python -m simulators.<name>`; its state is in `home`."""

    def __init__(self, name: str, home: Path, *arguments: str) -> None:
        self.ready_file = home / "ready.json"
        self.state = home / "state.db"
        self.ready_file.unlink(missing_ok=True)
        files = ["--state", str(self.state), "--ready-file", str(self.ready_file)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"simulators.{name}", *files, "--die-with-parent", *arguments],
            cwd=REPOSITORY,
        )
        wait_until(self._ready, f"{name} is ready")
        told = json.loads(self.ready_file.read_text())
        assert told["pid"] == self.process.pid
        self.http = httpx2.Client(base_url=told["url"], trust_env=False, timeout=10)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"ended with {self.process.returncode} before it was ready"
        return self.ready_file.exists()

    def get(self, what: str) -> Any:
        return self.http.get(f"/simulate/{what}").raise_for_status().json()

    def post(self, what: str, body: Any) -> Any:
        return self.http.post(f"/simulate/{what}", json=body).raise_for_status().json()

    def end(self, by: signal.Signals) -> int:
        self.http.close()
        self.process.send_signal(by)
        return self.process.wait(10)


@contextmanager
def running(name: str, home: Path, *arguments: str) -> Iterator[Simulator]:
    simulator = Simulator(name, home, *arguments)
    try:
        yield simulator
    finally:
        if simulator.process.poll() is None:
            simulator.end(signal.SIGKILL)


class Receiver:
    """A webhook. It answers the next of `script`, or 200, and keeps what it was told in either case."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.answered: list[int] = []
        self.script: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = receiver.script.pop(0) if receiver.script else 200
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((headers, body))
                receiver.answered.append(status)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test says what went wrong."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def events(self, status: int = 200) -> list[dict[str, Any]]:
        """The events in the requests that were answered so, in order of arrival."""
        told = [body for (_, body), said in zip(self.requests, self.answered, strict=False) if said == status]
        return [event for body in told for event in (body if isinstance(body, list) else [body])]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
