"""Peak memory of what works on the log, each in a process of its own, over a log and one ten times as long."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text

from adapters.database import open_as_owner, open_database
from adapters.keys.local import new_master, parse_masters
from adapters.lake.place import url_of
from adapters.log.append import append
from adapters.log.read import iterate, read_head
from benchmarks.database import new_database
from benchmarks.events import batches
from benchmarks.report import Figure
from domain.records import record_of
from runtime.log_archive import archive_log
from runtime.log_export import export_log
from runtime.verify import verify_log

WORKS: Final = ("append", "read", "verify", "export", "archive", "read across")
#: Megabytes that no command may need, however long the log is.
BOUND: Final = 400


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
        _partition(url, events)
        found, master = {}, new_master()
        for work in WORKS:
            argv = [sys.executable, "-m", "benchmarks.log_memory", work, url, place, str(events), master]
            said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
            found[work] = float(said)
        return found


def _partition(url: str, events: int) -> None:
    """Gives the log two partitions for so many events."""
    owner = create_engine(url)
    with owner.begin() as connection:
        connection.execute(text("UPDATE log_head SET partition_rows = :rows"), {"rows": events // 2})
        connection.execute(text("DROP TABLE log_0, log_1"))
        connection.execute(text("SELECT log_add_partition(0), log_add_partition(1)"))
    owner.dispose()


def _work(work: str, url: str, place: Path, events: int, master: str) -> None:
    engine = open_database(url, application=f"memory of {work}", keys=parse_masters(master))
    if work == "append":
        for batch in batches(0, events):
            with engine.begin() as connection:
                append(connection, batch)
    elif work.startswith("read"):
        with engine.connect() as connection:
            count = sum(bool(record_of(row.state)) for row in iterate(connection))
        assert count == events
    elif work == "verify":
        assert verify_log(url, lambda done, of: None).fault is None
    elif work == "export":
        with engine.connect() as connection:
            last = read_head(connection).position
        assert export_log(engine, place / "log.parquet", 1, last, lambda at: None) == events
    elif work == "archive":
        owner = open_as_owner(url, application="memory of archive")
        moved = archive_log(owner, f"{url_of(str(place))}/log", 0, lambda done, of: None)
        assert sum(partition.rows for partition in moved) >= events // 2 - 1
        owner.dispose()
    engine.dispose()


if __name__ == "__main__" and len(sys.argv) == 6:
    _work(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
    # Not getrusage: that begins with what the process had before it became this program.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    sys.stdout.write(str(int(peak[1]) / 1024))
