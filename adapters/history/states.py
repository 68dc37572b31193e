"""What conditions remember of everybody, from the history as DuckDB relations: people by ranges of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from domain.audiences.conditions import OwnLeaf
from domain.audiences.flat import unflattened
from domain.audiences.gathered import Happened, gathered
from domain.audiences.sql.remembered import takes

#: Events that are made into Python's objects at once.
ROWS: Final = 50_000

#: Whoever was erased has begun anew, if they are there at all; the lake may not have come so far.
_HAPPENED: Final = """
    CREATE OR REPLACE TABLE happened AS
    SELECT i.who, e.occurred_at, e.position {columns}
    FROM events e JOIN identity i ON i.node = e.node LEFT JOIN gone g ON g.node = e.node
    WHERE e.name IN ({names}) AND ({asked}) AND e.position <= ? AND coalesce(e.position >= g.before, true)
    ORDER BY i.who, e.occurred_at DESC, e.position DESC
"""
_WHO: Final = ("who", "occurred_at", "position")
_THEIRS: Final = "FROM happened WHERE who BETWEEN ? AND ?"


class States:
    """Lays out, on disk where they are many, the events up to a position that these conditions remember anything of.

    The relations are those of `adapters/history/query.py`, and `gone(node, before)`: who was erased, and before which
    position everything was."""

    def __init__(self, duck: duckdb.DuckDBPyConnection, leaves: Sequence[OwnLeaf], upto: int) -> None:
        self._duck = duck
        #: The column that says of an event whether a term holds of it.
        told: dict[str, str] = {}
        #: Each condition, and of its lists the columns that say which events may stand there.
        self._lists: list[tuple[OwnLeaf, list[str]]] = []
        for leaf in leaves:
            terms = [term.sql(dialect="duckdb") for term in takes(leaf.condition)]
            self._lists.append((leaf, [told.setdefault(term, f"t{len(told)}") for term in terms]))
        every = _values_of(sorted({path for leaf in leaves for kept in leaf.kept for path in kept.paths}))
        columns = [f", ({term}) AS {name}" for term, name in told.items()]
        columns += [f", {value.held} AS {value.column}" for value in every]
        names = sorted({name for leaf in leaves for name in leaf.names})
        statement = _HAPPENED.format(
            columns="".join(columns),
            names=", ".join("?" for _ in names),
            asked=" OR ".join(f"({term})" for term in told),
        )
        duck.execute(statement, [*names, upto])
        self._values = _there(duck, every)

    def between(self, least: int, greatest: int) -> Iterator[tuple[int, OwnLeaf, Any]]:
        """A person's number, a condition, and what it remembers of the person: several times where that is more than is
        read at once, each of a part."""
        for rows in self._duck.sql(_THEIRS, params=[least, greatest]).to_arrow_reader(ROWS):
            for leaf, columns in self._lists:
                lists = [
                    self._happened(rows, column, kept.paths)
                    for kept, column in zip(leaf.kept, columns, strict=True)
                ]
                for who, state in gathered(leaf, lists).items():
                    yield who, leaf, state

    def _happened(self, rows: pa.RecordBatch, taken: str, paths: Sequence[str]) -> Happened:
        """Those of the rows that a column says so of."""
        values = [self._values[path] for path in paths]
        names = dict.fromkeys((*_WHO, *(value.column for several in values for value in several)))
        those = rows.select(list(names)).filter(rows.column(taken))
        who, at, position = (those.column(name).to_pylist() for name in _WHO)
        return Happened(who, at, position, [_of(those, several) for several in values])


class _Value(NamedTuple):
    """A column of values under a path, how it is had from a row of the lake, and how a value is made of it."""

    path: str
    made: Callable[[Any], Any] | None
    column: str
    held: str


#: How a value of each kind becomes what it was, where it is not that already.
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


def _there(duck: duckdb.DuckDBPyConnection, every: Sequence[_Value]) -> dict[str, list[_Value]]:
    """Those that any event has, by path: most properties are of one kind."""
    there: dict[str, list[_Value]] = {value.path: [] for value in every}
    if every:
        counts = ", ".join(f"count({value.column})" for value in every)
        [found] = duck.execute(f"SELECT {counts} FROM happened").fetchall()  # noqa: S608
        for value, count in zip(every, found, strict=True):
            if count:
                there[value.path].append(value)
    return there


def _of(rows: pa.RecordBatch, several: Sequence[_Value]) -> list[Any]:
    """A path's values; of each row at most one kind has one."""
    columns = [_made(rows.column(value.column).to_pylist(), value.made) for value in several]
    if not columns:
        return [None] * rows.num_rows
    if len(columns) == 1:
        return columns[0]
    return [next((each for each in held if each is not None), None) for held in zip(*columns, strict=True)]


def _made(column: list[Any], made: Callable[[Any], Any] | None) -> list[Any]:
    return column if made is None else [None if each is None else made(each) for each in column]
