"""Parts of Roundtrip as processes of their own, on servers that a benchmark has started for itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.keys.local import new_master, parse_masters
from runtime.embedded.nats import start_nats
from runtime.embedded.postgres import start_postgres


class Servers(NamedTuple):
    """An embedded PostgreSQL and NATS, the home that parts have beside them, and the master key of all databases."""

    home: Path
    postgres: str
    nats: str
    keys: str

    def open(self, database: str) -> Engine:
        """A database as a part opens it."""
        return open_database(database, application="benchmark", keys=parse_masters(self.keys))


@contextmanager
def servers() -> Iterator[Servers]:
    """Servers of their own, gone afterwards with all that was in them."""
    with (
        tempfile.TemporaryDirectory(prefix="roundtrip-bench-") as place,
        start_postgres(Path(place) / "postgres") as postgres,
        start_nats(Path(place) / "nats") as nats,
    ):
        Path(place).chmod(0o755)
        yield Servers(Path(place), postgres.url, nats.url, new_master())


@contextmanager
def part(
    name: str, at: Servers, database: str, environment: Mapping[str, str] = {}
) -> Iterator[psutil.Process]:
    """`roundtrip NAME` for as long as the block runs; what it says goes to a file in the home."""
    environ = {
        **os.environ,
        "ROUNDTRIP_HOME": str(at.home),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": at.nats,
        "ROUNDTRIP_MASTER_KEY": at.keys,
        **environment,
    }
    said = at.home / f"{name}.log"
    with said.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "runtime.cli", name], env=environ, stderr=log)
    try:
        yield psutil.Process(process.pid)
        if (code := process.poll()) is not None:
            raise SystemExit(f"`roundtrip {name}` ended with {code}: {said.read_text()[-2_000:]}")
    finally:
        process.terminate()
        process.wait(30)


def processor_s(process: psutil.Process) -> float:
    """Processor time that a process has taken so far, in seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


def most_memory(process: psutil.Process) -> float:
    """The most that a process has held at a time since it began, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6
