"""Audiences: how fast events are taken in with them, and how fast they are answered in bulk. Goals: issue "Audiences",
section "Speed"."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.of_audiences.bulk import bulk_figures
from benchmarks.of_audiences.streaming import streaming_figures
from benchmarks.report import arguments, conclude
from runtime.embedded.postgres import start_postgres


def main() -> None:
    asked = arguments(__doc__)
    people, events, history = (20_000, 20_000, 300_000) if asked.quick else (1_000_000, 200_000, 10_000_000)
    with tempfile.TemporaryDirectory() as home:
        with start_postgres(Path(home) / "postgres") as server:
            figures = streaming_figures(server.url, people, events)
        figures += bulk_figures(Path(home), history)
    conclude("Audiences", figures, asked, [f"bulk: {history:,} events"])


if __name__ == "__main__":
    main()
