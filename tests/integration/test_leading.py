"""Time passes without records too: whoever leads lets happen what has fallen due."""

from __future__ import annotations

import time
from threading import Event, Thread

import msgspec
from sqlalchemy import Engine

from adapters.log.append import append
from domain.records import Entry, Identifier, Record, derive_id, entry_of
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.leading import run_pipeline
from runtime.pipeline import Pipeline, drain
from runtime.status import read_status
from tests.servers import wait_until

HOUR_US = 3_600_000_000
SHOP = {
    "workspace": "shop",
    "feeds": {"app": {"format": "files"}},
    "audiences": {"quiet": {"match": {"event": "Seen", "last": {"before": "1h"}}}},
}


def now_us() -> int:
    return time.time_ns() // 1_000


def test_what_fell_due_happens_though_the_last_row_is_later_and_moves_no_time(
    database: str, engine: Engine
) -> None:
    due = now_us() + 2_000_000
    seen = Record(
        feed="app",
        message_id="m-1",
        type="track",
        name="Seen",
        occurred_at=due - HOUR_US,
        identifiers=(Identifier("user_id", "ann"),),
        body=msgspec.Raw(b"{}"),
    )
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(SHOP))
        with engine.begin() as connection:
            append(connection, [entry_of(seen)])
        drain(Pipeline(engine, definitions), 2**62)
        assert read_status(engine)["audiences"] == {}
        wait_until(lambda: now_us() > due, "the hour to be over")
        with engine.begin() as connection:
            append(connection, [Entry(derive_id("derived"), 1, "profile.created", None, b"{}")])
        stop = Event()
        leader = Thread(target=run_pipeline, args=(engine, definitions, stop))
        leader.start()
        try:
            wait_until(lambda: read_status(engine)["audiences"] == {"quiet": 1}, "ann to be quiet")
        finally:
            stop.set()
            leader.join()
