"""What an append costs once the log has grown, beside one to a log that is young, in the same run.

After a checkpoint each page of the index over streams is written whole once, which costs a long log more than a young
one. So it is measured for as long as it is from one checkpoint to the next: more or less of it would have more or less
than the share that each row has of this.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from statistics import mean
from typing import Final

from sqlalchemy import Engine, text

from adapters.database import open_database
from adapters.keys.keyring import OPTION
from benchmarks.database import new_database
from benchmarks.events import BATCH, batches
from benchmarks.report import Figure
from benchmarks.side_by_side import KEYS, Unsealed, Work, append_rate, appending
from domain.records import Entry
from runtime.embedded.postgres import start_postgres
from runtime.migrate import migrate

#: Batches that a young log gets meanwhile: it stays young.
_EARLY: Final = 50
#: So many young logs: two hundred batches tell the rate to 3 %, where fifty tell it to 5 %.
_YOUNG: Final = 4
_GROWN, _SAMPLE = 20_000_000_000, 40_000_000_000


def growth(early: int, late: int) -> list[Figure]:
    """A log grows to beyond so many events, on a server of its own, and is measured around there."""
    with tempfile.TemporaryDirectory() as home, start_postgres(Path(home)) as server:
        migrate(server.url)
        with _opened(server.url) as engine:
            append_rate(engine, _GROWN, late // 2)
            between = _between_checkpoints(engine, _written(engine) / (late // 2))
            sample = min(between, late * 2 // 3) // BATCH * BATCH
            append_rate(engine, _GROWN + late // 2, late - sample // 2 - late // 2)
            with ExitStack() as stack:
                young = [stack.enter_context(_young(server.url, early)) for _ in range(_YOUNG)]
                late_rate, early_rate = _in_turn(appending(engine), list(map(appending, young)), sample)
    return [
        Figure(f"append with {early:,} events in the log", early_rate, "events/s"),
        Figure(f"append with {late:,} events in the log", late_rate, "events/s"),
        Figure("late ÷ early", late_rate / early_rate, "×", 0.85),
        Figure("events between two checkpoints", between, "events"),
        Figure("events appended around there", sample, "events"),
    ]


@contextmanager
def _young(server: str, events: int) -> Iterator[Engine]:
    with new_database(server) as url, _opened(url) as engine:
        append_rate(engine, _GROWN, events)
        yield engine


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    engine = open_database(url, application="benchmark", keys=KEYS)
    try:
        yield engine.execution_options(**{OPTION: Unsealed(KEYS)})
    finally:
        engine.dispose()


def _in_turn(often: Work, seldom: Sequence[Work], count: int) -> tuple[float, float]:
    """Rates of one work, and of several that are alike and done seldom, but all along: no second of the machine is like
    the next."""
    each = max(count // BATCH // (_EARLY * len(seldom)), 1)
    turns, spare = cycle(seldom), batches(_SAMPLE, count)
    often_took, seldom_took = [], []
    for number, batch in enumerate(batches(_SAMPLE, count)):
        often_took.append(_took(often, batch))
        if number % each == 0:
            seldom_took.append(_took(next(turns), next(spare)))
    return BATCH / mean(often_took), BATCH / mean(seldom_took)


def _took(work: Work, batch: list[Entry]) -> float:
    began = time.perf_counter()
    work(batch)
    return time.perf_counter() - began


def _written(engine: Engine) -> int:
    """Bytes of write-ahead log that the server has written."""
    with engine.connect() as connection:
        statement = text("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return int(connection.execute(statement).scalar_one())


def _between_checkpoints(engine: Engine, bytes_a_row: float) -> int:
    """How many rows it is from one checkpoint to the next.

    Source: postgresql.org/docs/18/wal-configuration.html, and `CalculateCheckpointSegments` of its source.
    """
    with engine.connect() as connection:
        settings = text(
            "SELECT pg_size_bytes(current_setting('max_wal_size'))"
            " / (1 + current_setting('checkpoint_completion_target')::float)"
        )
        return int(connection.execute(settings).scalar_one() / bytes_a_row)
