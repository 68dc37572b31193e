"""The history of the conditions that new or edited audiences have, from the lake in bulk.

What a condition remembers is a mergeable fold: it takes in at once what the lake has up to a position, and the rest
from the log (docs/decisions/0250-history-in-bulk.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import duckdb
import pyarrow as pa
import structlog
from deltalake.exceptions import DeltaError
from sqlalchemy import Connection

from adapters.history.query import offer_history, offer_people, open_duckdb
from adapters.history.tables import History
from adapters.projections.people import load_all_gone
from domain.audiences.evaluation import OwnLeaf
from domain.audiences.flat import unflattened
from domain.audiences.occurrences import Event, remember
from domain.profiles import Profile

#: What goes wrong with a lake. Then the log is read.
BROKEN: Final = (DeltaError, duckdb.Error, OSError)

#: Events that are made into Python's objects at once.
_ROWS: Final = 10_000

log = structlog.get_logger("pipeline")


class LakeBackfill:
    """Reads a lake. What is read is held, outside of memory where it is much, until `close`."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._open: tuple[int, duckdb.DuckDBPyConnection] | None = None
        self._stack = ExitStack()

    def reach(self) -> int:
        """The position up to which the lake has every event; 0 where there is none that can be read."""
        try:
            return self._history.written()["events"]
        except BROKEN as error:
            log.warning("the lake cannot be read", error=type(error).__name__)
            return 0

    def fold(
        self,
        connection: Connection,
        leaves: Sequence[OwnLeaf],
        upto: int,
        profiles: Mapping[str, Profile],
    ) -> bool:
        """Folds what these people did up to a position into these conditions; whether the lake could be read. The
        people are all those there are from the least of their ids to the greatest."""
        paths = sorted({path for leaf in leaves for path in leaf.paths})
        try:
            duck = self._duck(connection, leaves, paths, upto)
        except BROKEN as error:
            log.warning("the lake cannot be read, the log is", error=type(error).__name__)
            self.close()
            return False
        people = [min(profiles), max(profiles)]
        asked = duck.execute("SELECT * FROM happened WHERE profile BETWEEN ? AND ?", people)
        listening: dict[str, list[OwnLeaf]] = {}
        for leaf in leaves:
            for name in leaf.names:
                listening.setdefault(name, []).append(leaf)
        while rows := asked.fetchmany(_ROWS):
            for profile, name, occurred_at, position, *values in rows:
                conditions = profiles[profile].conditions
                event = Event(name, occurred_at, position, _properties(paths, values))
                for leaf in listening[name]:
                    remember(conditions, leaf, event)
        return True

    def close(self) -> None:
        """Lets go of what was read."""
        self._stack.close()
        self._open = None

    def _duck(
        self,
        connection: Connection,
        leaves: Sequence[OwnLeaf],
        paths: Sequence[str],
        upto: int,
    ) -> duckdb.DuckDBPyConnection:
        if self._open is None or self._open[0] != upto:
            self.close()
            # The files are listed last: they have all that is written before.
            written, files = self._history.written(), self._history.files()
            if written["events"] < upto:
                raise duckdb.IOException(f"the lake has come to {written['events']} only")
            duck = self._stack.enter_context(open_duckdb())
            offer_history(duck, files, written, [])
            offer_people(duck, connection)
            gone = load_all_gone(connection)
            node, before = pa.array(gone.keys(), pa.string()), pa.array(gone.values(), pa.int64())
            duck.register("gone", pa.table({"node": node, "before": before}))
            names = sorted({name for leaf in leaves for name in leaf.names})
            marks = ", ".join("?" for _ in names)
            duck.execute(_HAPPENED.format(values=_values(paths), names=marks), [*names, upto])
            self._open = upto, duck
        return self._open[1]


#: Whoever was erased has begun anew, if they are there at all; the lake may not have come so far.
_HAPPENED: Final = """
    CREATE TABLE happened AS
    SELECT p.profile, e.name, e.occurred_at, e.position {values}
    FROM events e JOIN identity i ON i.node = e.node JOIN person p ON p.who = i.who LEFT JOIN gone g ON g.node = e.node
    WHERE e.name IN ({names}) AND e.position <= ? AND coalesce(e.position >= g.before, true)
    ORDER BY p.profile
"""
_KINDS: Final = ("texts", "numbers", "truths", "lists")


def _values(paths: Sequence[str]) -> str:
    told = []
    for path in paths:
        quoted = "'" + path.replace("'", "''") + "'"
        told += [f", e.{kind}[{quoted}]" for kind in _KINDS]
        told.append(f", list_contains(e.objects, {quoted})")
    return " ".join(f"{one} AS v{number}" for number, one in enumerate(told))


def _properties(paths: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    wide = len(_KINDS) + 1
    found = {path: unflattened(*values[n * wide : (n + 1) * wide]) for n, path in enumerate(paths)}
    return {path: value for path, value in found.items() if value is not None}
