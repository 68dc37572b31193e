"""Audiences: how fast events are taken in with them, how fast they are answered in bulk, how long a new one takes over
a history that is there, and how soon a message tells who has entered. Goals: issue "Audiences", section "Speed"."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.of_audiences.backfill import backfill_figures
from benchmarks.of_audiences.bulk import bulk_figures
from benchmarks.of_audiences.latency import latency_figures
from benchmarks.of_audiences.streaming import streaming_figures
from benchmarks.report import arguments, conclude
from runtime.embedded.postgres import start_postgres


def main() -> None:
    asked = arguments(__doc__)
    people, events = (20_000, 20_000) if asked.quick else (1_000_000, 200_000)
    # Over fewer the milliseconds that planning takes would tell more than the rest.
    history = 1_500_000 if asked.quick else 10_000_000
    backfilled, seconds = (60_000, 5) if asked.quick else (history, 60)
    with tempfile.TemporaryDirectory() as home:
        with start_postgres(Path(home) / "postgres") as server:
            figures = streaming_figures(server.url, people, events)
            figures += backfill_figures(server.url, Path(home), backfilled, by_log=asked.quick)
        figures += bulk_figures(Path(home), history)
        figures += latency_figures(Path(home), seconds)
    notes = [f"bulk: {history:,} events; backfill: {backfilled:,}", f"latency: {seconds} s"]
    conclude("Audiences", figures, asked, notes)


if __name__ == "__main__":
    main()
