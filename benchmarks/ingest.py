"""Events in by HTTP, durable in the log before the answer: batches of 100, plain and gzip, and single calls.

`roundtrip serve` alone on an embedded PostgreSQL, with the load from a second process on the same two cores. The
reference is the log's own batch append of the same events by this process, in the same run. Goals: issue "Feeds",
section "Speed".
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import harmonic_mean
from typing import Final, NamedTuple

import psutil
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from benchmarks.ingest_load import Run
from benchmarks.load import bodies
from benchmarks.platform import free_port, wait_for
from benchmarks.report import Figure, arguments, conclude
from domain.records import entry_of
from feeds.segment import parse_call
from runtime.definitions import apply_workspace, open_definitions
from runtime.embedded.nats import start_nats
from runtime.embedded.postgres import start_postgres
from runtime.migrate import migrate
from runtime.pipeline import Pipeline, drain
from runtime.workspace_file import read_workspace

KEY: Final = "benchmark-write-key"
WORKSPACE: Final = "workspace: bench\nfeeds:\n  app: {format: segment, secret: {env: BENCH_WRITE_KEY}}\n"
BATCH: Final = 5_000
#: Apps' servers and devices that call at once. The more wait, the more rows a transaction has.
CONNECTIONS: Final = 64
FEW: Final = 8


class Served(NamedTuple):
    """A running `roundtrip serve`, and the log behind it."""

    url: str
    process: psutil.Process
    engine: Engine


def main() -> None:
    asked = arguments(__doc__)
    events, singles = (150_000, 10_000) if asked.quick else (600_000, 40_000)
    with served() as ours:
        _load(ours, Run("batch", 20_000, CONNECTIONS, seed=9))
        # Before and after, as the log grows meanwhile: all three are then at work on as long a log.
        own = [_own_rate(ours.engine, events // 2, seed=5)]
        plain, plain_cost = _load(ours, Run("batch", events, CONNECTIONS, seed=1))
        zipped, zipped_cost = _load(ours, Run("gzip", events, CONNECTIONS, seed=2))
        own.append(_own_rate(ours.engine, events // 2, seed=7))
        few, _ = _load(ours, Run("batch", events, FEW, seed=6))
        single, _ = _load(ours, Run("track", singles, CONNECTIONS, seed=3))
        half = single.rate / 2
        pace = Run("track", int(half * (8 if asked.quick else 20)), CONNECTIONS, seed=4, rate=half)
        paced, _ = _load(ours, pace)
    figures = [
        Figure(f"/v1/batch, 100 events a request, {CONNECTIONS} connections", plain.rate, "events/s", 30_000),
        Figure("/v1/batch, gzip", zipped.rate, "events/s", 30_000),
        Figure("the log's own batch append before these", own[0], "events/s"),
        Figure("the log's own batch append after these", own[1], "events/s"),
        Figure("/v1/batch ÷ the log's own append", plain.rate / harmonic_mean(own), "×", 0.6),
        Figure("/v1/batch, gzip ÷ the log's own append", zipped.rate / harmonic_mean(own), "×", 0.6),
        Figure(f"/v1/batch over {FEW} connections", few.rate, "events/s", 30_000),
        Figure(f"/v1/track, {CONNECTIONS} connections", single.rate, "requests/s", 2_000),
        Figure("/v1/track, p50 at half of that", paced.p50_ms, "ms"),
        Figure("/v1/track, p99 at half of that", paced.p99_ms, "ms", 50, at_most=True),
        Figure("cost of a batch's event in serve", 1e6 * plain_cost / events, "µs of processor"),
        Figure("the same, gzip", 1e6 * zipped_cost / events, "µs of processor"),
        Figure("cost of a batch's event in the load", 1e6 * plain.processor_s / events, "µs of processor"),
    ]
    conclude(
        "Ingest by HTTP", figures, asked, [f"{events:,} events a run, 100 a request; singles {singles:,}"]
    )


class Loaded(NamedTuple):
    """What the load measured. Latencies are of single requests, from when each was due."""

    rate: float
    p50_ms: float
    p99_ms: float
    processor_s: float


def _load(ours: Served, run: Run) -> tuple[Loaded, float]:
    """Runs a load in a process of its own; and the processor time that `serve` took for it."""
    command = [sys.executable, "-m", "benchmarks.ingest_load", ours.url, KEY, json.dumps(run._asdict())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdout.readline()
        before = _spent(ours.process)
        load.stdin.write("go\n")
        load.stdin.flush()
        found = Loaded(**json.loads(load.stdout.readline()))
    return found, _spent(ours.process) - before


def _spent(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _own_rate(engine: Engine, events: int, seed: int) -> float:
    """Events/s of the log's append alone, in batches; making the entries is not counted."""
    entries = [
        entry_of(record)
        for body in bodies(events, seed=seed)
        for record in parse_call("app", None, body, time.time_ns() // 1_000)
    ]
    took = 0.0
    for start in range(0, events, BATCH):
        batch = entries[start : start + BATCH]
        began = time.perf_counter()
        with engine.begin() as connection:
            append(connection, batch)
        took += time.perf_counter() - began
    return events / took


@contextmanager
def served() -> Iterator[Served]:
    """`roundtrip serve` with servers of its own, and nothing else of Roundtrip."""
    with (
        tempfile.TemporaryDirectory(prefix="roundtrip-bench-") as place,
        start_postgres(Path(place) / "postgres") as database,
        start_nats(Path(place) / "nats") as nats,
    ):
        Path(place).chmod(0o755)
        migrate(database.url)
        master = new_master()
        engine = open_database(database.url, application="benchmark", keys=parse_masters(master))
        file = Path(place) / "roundtrip.yaml"
        file.write_text(WORKSPACE)
        with open_definitions(database.url) as definitions:
            apply_workspace(engine, definitions, read_workspace(file))
            drain(Pipeline(engine, definitions), 100)
        port = free_port()
        environment = {
            **os.environ,
            "ROUNDTRIP_HOME": place,
            "ROUNDTRIP_DATABASE_URL": database.url,
            "ROUNDTRIP_NATS_URL": nats.url,
            "ROUNDTRIP_HTTP": f"127.0.0.1:{port}",
            "BENCH_WRITE_KEY": KEY,
            "ROUNDTRIP_MASTER_KEY": master,
        }
        with subprocess.Popen([sys.executable, "-m", "runtime.cli", "serve"], env=environment) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                wait_for(lambda: _answers(port), "`roundtrip serve` to answer", 60)
                yield Served(url, psutil.Process(process.pid), engine)
            finally:
                process.terminate()
                process.wait(30)
                engine.dispose()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
