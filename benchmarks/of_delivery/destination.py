"""The receiver as a process, and what it says that it was sent."""

from __future__ import annotations

import base64
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks.of_delivery.receiver import Counts
from benchmarks.platform import wait_for

SECRET: Final = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Receiver:
    """A destination that can be taken down."""

    def __init__(self, url: str) -> None:
        self.url = url

    def begin(self, *, down: bool = False) -> None:
        """From here on requests are counted anew; while it is down they are refused with 503."""
        body = msgspec.json.encode({"down": down})
        with urllib.request.urlopen(f"{self.url}/control", body, timeout=10):
            pass

    def counts(self) -> Counts:
        with urllib.request.urlopen(f"{self.url}/counts", timeout=10) as answer:
            return msgspec.json.decode(answer.read(), type=Counts)


@contextmanager
def receiver() -> Iterator[Receiver]:
    with TemporaryDirectory() as place:
        ready = Path(place) / "url"
        command = [sys.executable, "-m", "benchmarks.of_delivery.receiver", str(ready), SECRET]
        with subprocess.Popen(command) as process:
            try:
                wait_for(ready.exists, "the receiver", 30)
                yield Receiver(ready.read_text())
            finally:
                process.terminate()
