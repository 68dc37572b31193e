"""From the SDK's call to the vendor's request: HTTP in → log → profile → audiences → connection → simulator,
durable at each stage, with ten audiences, on one machine that also runs the load and the simulator.

The reference is a bare COPY of the same events' rows into an unindexed table of the same PostgreSQL.
Goal (issue "The reference loop"): at least 5,000 events/s on two cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from benchmarks.load import calls
from benchmarks.platform import Platform, platform, wait_for
from benchmarks.report import Figure, arguments, conclude
from domain.records import entry_of
from feeds.segment import parse_call
from runtime.engines import running

GOAL: Final = 5_000
WORKSPACE: Final = Path(__file__).with_name("end_to_end.workspace.yaml")
KEY: Final = "benchmark-write-key"
TOKEN: Final = "benchmark-ads-token"
CONNECTIONS: Final = 8


def main() -> None:
    asked = arguments(__doc__)
    events = 60_000 if asked.quick else 300_000
    with tempfile.TemporaryDirectory() as state:
        ads, url = _start_ads(Path(state))
        try:
            environment = {
                "ROUNDTRIP_APP_WRITE_KEY": KEY,
                "ROUNDTRIP_ADS_TOKEN": TOKEN,
                "ROUNDTRIP_ADS_URL": url,
            }
            with platform(WORKSPACE, environment) as ours:
                figures, notes = _measure(ours, ads, events)
        finally:
            ads.terminate()
            ads.wait()
    conclude("End to end", figures, asked, notes)


def _start_ads(state: Path) -> tuple[subprocess.Popen[bytes], str]:
    ready = state / "ads.json"
    command = [sys.executable, "-m", "simulators.ad_platform", "--state", str(state / "ads.db")]
    process = subprocess.Popen([*command, "--ready-file", str(ready), "--token", TOKEN, "--die-with-parent"])
    wait_for(ready.exists, "the ad platform's simulator")
    return process, json.loads(ready.read_text())["url"]


def _measure(ours: Platform, ads: subprocess.Popen[bytes], events: int) -> tuple[list[Figure], list[str]]:
    load = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", ours.url, KEY, str(events), str(CONNECTIONS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert load.stdin is not None
    assert load.stdout is not None
    load.stdout.readline()
    before = _processor_seconds(ours, ads)
    first = ours.status()["log"]["position"]
    began = time.perf_counter()
    load.stdin.write("go\n")
    load.stdin.flush()
    posted, load_cost = map(float, load.stdout.readline().split())
    wait_for(lambda: not ours.status()["readers"]["pipeline"]["lag"], "the pipeline")
    folded = time.perf_counter() - began
    wait_for(lambda: _delivered(ours), "the deliveries")
    took = time.perf_counter() - began
    after = _processor_seconds(ours, ads)
    load.wait()
    before["load"], after["load"] = 0.0, load_cost
    status = ours.status()
    copy = _bare_copy(ours, events)
    rate = events / took
    figures = [
        Figure("end to end", rate, "events/s", GOAL),
        Figure("bare COPY of the same rows", copy, "rows/s"),
        Figure("end to end ÷ bare COPY", rate / copy, "×"),
        Figure("HTTP in, durable in the log", events / posted, "events/s"),
        Figure("taken in by the pipeline", events / folded, "events/s"),
        Figure("rows in the log", status["log"]["position"] - first, "rows"),
        Figure("delivered to the ad platform", status["outbound"]["ads"]["delivered"], "records"),
        *(
            Figure(f"cost: {name}", 1e6 * (after[name] - spent) / events, "µs of processor an event")
            for name, spent in sorted(before.items(), key=lambda item: -(after[item[0]] - item[1]))
        ),
    ]
    members = ", ".join(f"{name} {count:,}" for name, count in status["audiences"].items())
    return figures, [f"{events:,} events of {status['profiles']:,} people; members: {members}"]


def _delivered(ours: Platform) -> bool:
    status = ours.status()
    if any(reader["lag"] for reader in status["readers"].values()):
        return False
    return not any(counts.get("pending") for counts in status["outbound"].values())


def _processor_seconds(ours: Platform, ads: subprocess.Popen[bytes]) -> dict[str, float]:
    times = psutil.Process(ads.pid).cpu_times()
    return ours.processor_seconds() | {"simulator": times.user + times.system}


def _bare_copy(ours: Platform, events: int) -> float:
    """Rows a second of COPY into a table without index, 1,000 rows a transaction, of what the feed made."""
    engines = running(ours.home)
    assert engines is not None
    entries = [_entry(call) for call in calls(min(events, 100_000))]
    with psycopg.connect(engines.database_url.replace("+psycopg", "")) as connection:
        connection.execute(
            "CREATE TABLE bare (stream_id uuid, version int, topic text, subject uuid, state bytea)"
        )
        connection.commit()
        began = time.perf_counter()
        for start in range(0, len(entries), 1_000):
            with connection.cursor() as cursor:
                with cursor.copy("COPY bare FROM STDIN") as copy:
                    for entry in entries[start : start + 1_000]:
                        copy.write_row(entry)
                connection.commit()
        took = time.perf_counter() - began
        connection.execute("DROP TABLE bare")
        connection.commit()
    return len(entries) / took


def _entry(call: dict[str, Any]) -> Any:
    [record] = parse_call("app", call["type"], json.dumps(call).encode(), time.time_ns() // 1000)
    return entry_of(record)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
