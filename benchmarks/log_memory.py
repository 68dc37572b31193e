"""Peak memory of what works on the log, over a log and one ten times as long: the log's own doors in a process of their
own, commands with all of their processes."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text

from adapters.database import open_database
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from adapters.log.read import iterate
from benchmarks.command import run_command
from benchmarks.database import new_database
from benchmarks.events import batches
from benchmarks.report import Figure
from domain.records import record_of

#: Commands, `{}` standing for a directory.
COMMANDS: Final = {
    "log verify": "log verify",
    "log export": "log export {}/log.parquet",
    "log archive": "log archive --keep 0",
    "import": "import {}/people.csv --feed app --mapping {}/mapping.yaml",
    "audience export": "audience export everybody --to {}/members.csv --field id=identifier.user_id",
}
#: What is measured, in this order.
WORKS: Final = (
    "append",
    "read",
    "log verify",
    "log export",
    "log archive",
    "read across",
    "import",
    "audience export",
)
#: Megabytes that no command may need, however long the log is.
BOUND: Final = 400
#: A workspace with one feed.
_DECLARED: Final = text(
    "INSERT INTO definition VALUES ('workspace', 'shop', jsonb_build_object('clock', 'wall'), 1),"
    " ('feed', 'app', jsonb_build_object('format', 'segment', 'secret', jsonb_build_object('env', 'KEY')), 2)"
)
#: Between two looks at a command's memory.
_PAUSE_S: Final = 0.1


def memory(server: str, events: int) -> list[Figure]:
    """Figures for a log of `events` and one of a tenth, on databases of their own."""
    short, long = _peaks(server, events // 10), _peaks(server, events)
    figures = []
    for work in WORKS:
        figures += [
            Figure(f"peak memory of {work}, {events // 10:,} events", short[work], "MB"),
            Figure(f"peak memory of {work}, {events:,} events", long[work], "MB"),
            Figure(f"{BOUND} MB ÷ that", BOUND / long[work], "×", 1),
        ]
    return figures


def _peaks(server: str, events: int) -> dict[str, float]:
    with new_database(server) as url, tempfile.TemporaryDirectory() as place:
        _prepare(url, Path(place), events)
        found: dict[str, float] = {}
        master = new_master()
        for work in WORKS:
            if work in COMMANDS:
                words = COMMANDS[work].replace("{}", place).split()
                found[work] = run_command(Path(place), url, master, *words, pause=_PAUSE_S).memory
            else:
                argv = [sys.executable, "-m", "benchmarks.log_memory", work, url, str(events), master]
                found[work] = float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
        return found


def _prepare(url: str, place: Path, events: int) -> None:
    """Gives the log two partitions for so many events, an audience as many members, and a file as many rows."""
    owner = create_engine(url)
    with owner.begin() as connection:
        connection.execute(text("UPDATE log_head SET partition_rows = :rows"), {"rows": events // 2})
        connection.execute(text("DROP TABLE log_0, log_1"))
        connection.execute(text("SELECT log_add_partition(0), log_add_partition(1)"))
        connection.execute(_DECLARED)
        connection.execute(
            text(
                "INSERT INTO membership"
                " SELECT 'everybody', md5(n::text)::uuid, n, n FROM generate_series(1, :rows) AS n"
            ),
            {"rows": events},
        )
    owner.dispose()
    (place / "mapping.yaml").write_text("type: identify\nidentifiers: {user_id: id}\nvalues: {city: city}\n")
    with (place / "people.csv").open("w") as file:
        file.write("id,city\n")
        file.writelines(f"user-{number:07d},Graz\n" for number in range(events))


def _work(work: str, url: str, events: int, master: str) -> None:
    engine = open_database(url, application=f"memory of {work}", keys=parse_masters(master))
    if work == "append":
        for batch in batches(0, events):
            with engine.begin() as connection:
                append(connection, batch)
    else:
        with engine.connect() as connection:
            count = sum(bool(record_of(row.state)) for row in iterate(connection))
        assert count == events
    engine.dispose()


if __name__ == "__main__" and len(sys.argv) == 5:
    _work(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    # Not getrusage: that begins with what the process had before it became this program.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    sys.stdout.write(str(int(peak[1]) / 1024))
