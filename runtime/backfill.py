"""The history of the conditions that new or edited audiences have, from the lake in bulk.

What a condition remembers is a mergeable fold: it takes in at once what the lake has up to a position, and the rest
from the log (docs/decisions/0250-history-in-bulk.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

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
from domain.audiences.sql.remembered import remembered
from domain.profiles import Profile

#: What goes wrong with a lake. Then the log is read.
BROKEN: Final = (DeltaError, duckdb.Error, OSError)

#: Events that are made into Python's objects at once.
_ROWS: Final = 10_000

_NONE: Final[Mapping[str, Any]] = {}

log = structlog.get_logger("pipeline")


class LakeBackfill:
    """Reads a lake. What is read is held, outside of memory where it is much, until `close`."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._open: tuple[int, duckdb.DuckDBPyConnection] | None = None
        self._stack = ExitStack()
        self._values: list[_Value] = []

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
        try:
            duck = self._duck(connection, leaves, upto)
        except BROKEN as error:
            log.warning("the lake cannot be read, the log is", error=type(error).__name__)
            self.close()
            return False
        people = [min(profiles), max(profiles)]
        numbered = duck.execute(
            "SELECT who, profile FROM person WHERE profile BETWEEN ? AND ?", people
        ).fetchall()
        conditions = {who: profiles[profile].conditions for who, profile in numbered}
        if not conditions:
            return True
        values, columns = self._values, "".join(f", {value.column}" for value in self._values)
        duck.execute(_THEIRS.format(values=columns), [min(conditions), max(conditions)])
        listening: dict[str, list[OwnLeaf]] = {}
        for leaf in leaves:
            for name in leaf.names:
                listening.setdefault(name, []).append(leaf)
        while rows := duck.fetchmany(_ROWS):
            for who, name, occurred_at, position, *held in rows:
                event = Event(name, occurred_at, position, _properties(values, held) if held else _NONE)
                for leaf in listening[name]:
                    remember(conditions[who], leaf, event)
        return True

    def close(self) -> None:
        """Lets go of what was read."""
        self._stack.close()
        self._open = None

    def _duck(
        self, connection: Connection, leaves: Sequence[OwnLeaf], upto: int
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
            asked = remembered(leaf.condition for leaf in leaves).sql(dialect="duckdb")
            every = _values_of(sorted({path for leaf in leaves for path in leaf.paths}))
            columns = "".join(f", {value.held} AS {value.column}" for value in every)
            duck.execute(_HAPPENED.format(values=columns, names=marks, asked=asked), [*names, upto])
            self._values = _there(duck, every)
            self._open = upto, duck
        return self._open[1]


class _Value(NamedTuple):
    """A column of values under a path, how it is had from a row of the lake, and how a value is made of it."""

    path: str
    made: Callable[[Any], Any] | None
    column: str
    held: str


#: Whoever was erased has begun anew, if they are there at all; the lake may not have come so far.
#: What is newest is folded in last, which finds its place at once.
_HAPPENED: Final = """
    CREATE TABLE happened AS
    SELECT i.who, e.name, e.occurred_at, e.position {values}
    FROM events e JOIN identity i ON i.node = e.node LEFT JOIN gone g ON g.node = e.node
    WHERE e.name IN ({names}) AND ({asked}) AND e.position <= ? AND coalesce(e.position >= g.before, true)
    ORDER BY i.who, e.occurred_at, e.position
"""
_THEIRS: Final = "SELECT who, name, occurred_at, position {values} FROM happened WHERE who BETWEEN ? AND ?"
#: How a value of each kind becomes what it was, where it is not that already; at most one kind of a path has one.
_MADE: Final[Mapping[str, Callable[[Any], Any] | None]] = {
    "texts": None,
    "numbers": None,
    "truths": None,
    "lists": lambda elements: unflattened(None, None, None, elements, None),
    "objects": lambda there: unflattened(None, None, None, None, there),
}


def _values_of(paths: Iterable[str]) -> list[_Value]:
    told: list[_Value] = []
    for path in paths:
        quoted = "'" + path.replace("'", "''") + "'"
        for kind, made in _MADE.items():
            held = f"e.{kind}[{quoted}]"
            if kind == "objects":
                held = f"CASE WHEN list_contains(e.objects, {quoted}) THEN true END"
            told.append(_Value(path, made, f"v{len(told)}", held))
    return told


def _there(duck: duckdb.DuckDBPyConnection, every: list[_Value]) -> list[_Value]:
    """Those that any event has: most properties are of one kind."""
    if not every:
        return []
    counts = ", ".join(f"count({value.column})" for value in every)
    [found] = duck.execute(f"SELECT {counts} FROM happened").fetchall()  # noqa: S608
    return [value for value, count in zip(every, found, strict=True) if count]


def _properties(values: Sequence[_Value], held: Sequence[Any]) -> dict[str, Any]:
    return {
        path: one if made is None else made(one)
        for (path, made, _, _), one in zip(values, held, strict=True)
        if one is not None
    }
