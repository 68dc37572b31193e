"""How long an audience takes from the row that declares it until everybody who belongs has entered, over a history that
is there already: by the lake, and by the log alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from adapters.database import open_database
from adapters.history.tables import History
from adapters.keys.local import new_master, parse_masters
from adapters.log.read import read_head
from adapters.projections.checkpoint import put_checkpoint
from benchmarks.database import new_database
from benchmarks.of_audiences.streaming import put_events, put_people
from benchmarks.report import Figure
from domain.workspace import Workspace
from runtime.ahead import Ahead, Place
from runtime.backfill import LakeBackfill
from runtime.definitions import apply_workspace, open_definitions
from runtime.history import HistoryWriter
from runtime.pipeline import CHECKPOINT, Pipeline, drain

GOAL_S: Final = 30.0
#: Over fewer events the goal says nothing.
_WHOLE: Final = 10_000_000
_NAMES: Final = ("Product Viewed", "Push Sent", "Push Opened", "Order Completed", "Cart Viewed")
_EACH: Final = 20
_IGNORED: Final = {
    "event": "Push Sent",
    "then_none": [{"event": "Push Opened", "same": "item"}],
    "within": "24h",
}
#: Audiences that are declared one after the other, the last of them an edited one.
_ASKED: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("pros", {"attribute": "plan", "is": "pro"}),
    ("dear", {"event": "Order Completed", "where": {"total": {"at_least": 99}}}),
    ("thrice", {"event": "Order Completed", "at_least": 3}),
    ("ignored", _IGNORED),
)
_BY_LOG: Final = ("thrice", {"event": "Order Completed", "at_least": 4})


def backfill_figures(server: str, home: Path, events: int, by_log: bool) -> list[Figure]:
    """Over so many events of a twentieth as many people. `by_log` says to edit an audience by the log alone too."""
    figures = []
    said: dict[str, Any] = {}
    with new_database(server) as url, open_definitions(url) as definitions:
        keys = parse_masters(new_master())
        engine = open_database(url, application="benchmark", keys=keys)
        try:
            apply_workspace(engine, definitions, _workspace(said))
            drain(Pipeline(engine, definitions), 2**62)
            people = events // _EACH
            put_people(engine, people)
            put_events(engine, _NAMES, people, events)
            with engine.begin() as connection:
                # Nobody asks about these events yet: to take them in would change nobody.
                put_checkpoint(connection, CHECKPOINT, read_head(connection).position)
            history = History(str(home / "backfilled"))
            writer = HistoryWriter(engine, definitions, history)
            while writer.turn():
                pass
            asked = [(*one, "") for one in _ASKED] + ([(*_BY_LOG, ", by the log alone")] if by_log else [])
            for name, match, way in asked:
                said[name] = {"match": match}
                backfill, ahead = None if way else LakeBackfill(history), Ahead(Place(url, keys, history))
                pipeline = Pipeline(engine, definitions, backfill=backfill, ahead=ahead)
                apply_workspace(engine, definitions, _workspace(said))
                began = time.perf_counter()
                drain(pipeline, 2**62)
                took = time.perf_counter() - began
                goal = GOAL_S if events >= _WHOLE else None
                figures.append(Figure(f"backfill, {name}{way}", took, "s", goal, at_most=True))
        finally:
            engine.dispose()
    return figures


def _workspace(audiences: dict[str, Any]) -> Workspace:
    return Workspace.model_validate(
        {"workspace": "benchmark", "feeds": {"app": {"format": "files"}}, "audiences": audiences}
    )
