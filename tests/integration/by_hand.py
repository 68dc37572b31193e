"""A log and its pipeline worked by hand: rows are appended at a time of the test's own, and taken in at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from adapters.log.append import append
from domain.outbound import Outbound, Outcome
from domain.records import Entry, entry_of
from feeds.segment import parse_call
from runtime.definitions import Definitions
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from tests.keys import KEYS, said


class Hand:
    """Of a workspace whose clock is simulated, with a feed `app`."""

    def __init__(self, engine: Engine, database: str, definitions: Definitions) -> None:
        self.engine, self.database, self.definitions = engine, database, definitions

    def say(self, at: int, *calls: dict[str, Any], outcomes: Sequence[Outcome] = ()) -> None:
        entries: list[Entry] = entries_of(outcomes)
        for call in calls:
            [record] = parse_call("app", call["type"], json.dumps(call).encode(), at)
            entries.append(entry_of(record))
        with self.engine.begin() as connection:
            append(connection, entries, advance_to=at)
        self.drain()

    def drain(self) -> None:
        while drain(Pipeline(self.engine, self.definitions), 2**62):
            pass

    def requested(self) -> list[Outbound]:
        return [msgspec.convert(one, Outbound) for one in said(self.database, "outbound.requested")]

    def differing(self, home: Path) -> list[object]:
        """The tables that a rebuild of the log makes otherwise than they are."""
        task = Task(self.database, KEYS, home, jobs=1, range_rows=7)
        found = verify_live(self.engine, task, self.definitions, lambda at, goal: None)
        return [one for one in found.tables if not one.equal]
