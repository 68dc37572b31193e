"""Who leads: one process at a time has the pipeline take the log in, and lets time pass where nothing comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Final

import structlog
from sqlalchemy import Engine, text

from adapters.log.append import append
from adapters.log.read import listen, read_head, wait_for_append
from adapters.projections.people import next_due
from domain.records import Entry, derive_id
from runtime.ahead import Ahead
from runtime.definitions import Definitions
from runtime.look_anew import Backfill
from runtime.pipeline import Pipeline

#: Without news the log is looked at again after this long, in seconds.
IDLE_WAIT: Final = 1.0
LEAD: Final = 0x70697065

log = structlog.get_logger("pipeline")


def run_pipeline(
    engine: Engine,
    definitions: Definitions,
    stop: Event,
    backfill: Backfill | None = None,
    ahead: Ahead | None = None,
) -> None:
    """Leads until `stop`: only one process does, others wait for it to go."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lead:
        while not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LEAD}).scalar():
            if stop.wait(IDLE_WAIT):
                return
        listen(lead)
        pipeline = Pipeline(engine, definitions, backfill=backfill, ahead=ahead)
        log.info("pipeline leads", position=pipeline.position)
        while not stop.is_set():
            if pipeline.turn() == 0 and (patience := _patience(engine)):
                wait_for_append(lead, patience, pipeline.position)
        if ahead:
            ahead.close()


def lead_alone(engine: Engine, definitions: Definitions, done: Callable[[], bool]) -> None:
    """Where no process leads, takes in what is there until `done`; where one does, leaves it to that one."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lead:
        if not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LEAD}).scalar():
            return
        try:
            pipeline = Pipeline(engine, definitions)
            while not done() and pipeline.turn():
                pass
        finally:
            lead.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LEAD})


def _patience(engine: Engine) -> float:
    """How many seconds there may be nothing to do at the log's end. Time passes without traffic too: when a timer is
    due by the wall's clock, a tick moves the log's, and there is something to do at once."""
    with engine.begin() as connection:
        due = next_due(connection)
        if due is None or read_head(connection).clock != "wall":
            return IDLE_WAIT
        left = due / 1_000_000 - time.time()
        if left > 0:
            return min(left, IDLE_WAIT)
        # The log's last row may be later than this timer, and none that moves time.
        [ticked] = append(connection, [tick(due)]).appended
    return 0.0 if ticked.new else IDLE_WAIT


def tick(due: int) -> Entry:
    """A row that only moves the log's time (microseconds)."""
    return Entry(derive_id("tick", str(due)), 1, "clock.tick", None, b'{"due":%d}' % due)
