"""The relations that a compiled audience asks, and what each leaf of a definition asks of them.

- `events(position, occurred_at, node, name, texts, numbers, truths, lists, objects)`
- `attributes(position, occurred_at, priority, node, name, texts, …)`: one row for each attribute that a record set
- `consents(position, occurred_at, node, purpose, given)`
- `identity(node, who)`: which person an identifier leads to, as of the moment that is asked about
- `person(who, profile)`: everybody; `who` is a whole number, by which engines group and join faster than by text

Times are microseconds. `node` is whose record it is; a person's records are those of all their nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlglot import exp

from domain.audiences.sql.terms import Term, column, every, literal
from domain.audiences.windows import Window


class Asked(NamedTuple):
    """The moment that is asked about: log time in microseconds, and up to which position."""

    now: int
    position: int | None


class LeafQuery(NamedTuple):
    """The profiles of whom a leaf holds; with `violators` those of whom it does not. `tables` are those that it asks,
    by name and in order."""

    id: str
    select: exp.Query
    violators: bool = False
    tables: Mapping[str, exp.Query] = {}


#: Newest first, and oldest first.
NEWEST: Final = "DESC"
OLDEST: Final = "ASC"


def upto(table: str, position: int | None) -> list[Term]:
    """Only what the log said up to a position."""
    if position is None:
        return []
    return [exp.LTE(this=column("position", table), expression=literal(position))]


def of_events(name: str, window: Window, position: int | None) -> list[Term]:
    """Events of a name, between the ends of a window that stay."""
    terms: list[Term] = [exp.EQ(this=column("name", "e"), expression=literal(name)), *upto("e", position)]
    at = column("occurred_at", "e")
    if window.since is not None:
        terms.append(exp.GTE(this=at, expression=literal(window.since)))
    if window.until is not None:
        terms.append(exp.LT(this=at.copy(), expression=literal(window.until)))
    return terms


def in_window(at: Term, window: Window, now: int) -> list[Term]:
    """Between the ends of a window that move."""
    terms: list[Term] = []
    if window.within is not None:
        terms.append(exp.GT(this=at.copy(), expression=literal(now - window.within)))
    if window.before is not None:
        terms.append(exp.LTE(this=at.copy(), expression=literal(now - window.before)))
    return terms


def of_people(table: str, columns: Iterable[Term], where: Iterable[Term]) -> exp.Select:
    """Rows of a relation, with the person whose they are."""
    return (
        exp.select(column("who", "i"), *columns)
        .from_(exp.alias_(exp.to_table(table), table[0], table=True, copy=False), copy=False)
        .join(
            exp.alias_(exp.to_table("identity"), "i", table=True, copy=False),
            on=exp.EQ(this=column("node", table[0]), expression=column("node", "i")),
            copy=False,
        )
        .where(every(where), copy=False)
    )


def ranked(rows: exp.Select, order: Sequence[tuple[Term, str]], table: str = "i") -> exp.Select:
    """The rows with `place`: their number among the profile's, from 1."""
    ordered = [exp.Ordered(this=term, desc=way == NEWEST, nulls_first=False) for term, way in order]
    place = exp.Window(
        this=exp.RowNumber(), partition_by=[column("who", table)], order=exp.Order(expressions=ordered)
    )
    return rows.select(exp.alias_(place, "place", copy=False), copy=False)


def by_time(way: str, table: str = "e") -> list[tuple[Term, str]]:
    return [(column("occurred_at", table), way), (column("position", table), way)]


def of_whom_first(rows: exp.Select, told: Term, order: Sequence[Term], way: str = NEWEST) -> exp.Select:
    """The people of whose rows the one that comes first, by order, tells it; with no row put into order."""
    first = (exp.ArgMax if way == NEWEST else exp.ArgMin)(
        this=told, expression=exp.Tuple(expressions=[*order])
    )
    return rows.group_by(column("who", "i"), copy=False).having(first, copy=False)


def first_of(rows: exp.Select, many: int, columns: Iterable[str] = ("*",)) -> exp.Select:
    """Of ranked rows, so many of each profile."""
    names = [exp.Star() if name == "*" else column(name) for name in columns]
    return (
        exp.select(*names)
        .from_(rows.subquery("ranked", copy=False), copy=False)
        .where(exp.LTE(this=column("place"), expression=literal(many)), copy=False)
    )


class Remembered:
    """Of each person's rows the newest so many, as the evaluator remembers them. Nearly nobody has more: only who has
    is ranked. `tables` are the rows, with `who`, `occurred_at` and `position`, and whose are so many."""

    def __init__(self, id: str, rows: exp.Select, limit: int) -> None:
        self._rows, self._crowd, self._limit = f"rows_{id}", f"crowd_{id}", limit
        self._columns = [one.alias_or_name for one in rows.selects]
        crowd = (
            exp.select(column("who"))
            .from_(exp.to_table(self._rows), copy=False)
            .group_by(column("who"), copy=False)
            .having(exp.GT(this=exp.Count(this=exp.Star()), expression=literal(limit)), copy=False)
        )
        self.tables: Mapping[str, exp.Query] = {self._rows: rows, self._crowd: crowd}

    def newest(self, which: str = "") -> exp.Query:
        """Those rows; of those alone that the column `which` says so of."""
        same = exp.EQ(this=column("who", "c"), expression=column("who", "r"))
        crowd = exp.alias_(exp.to_table(self._crowd), "c", table=True, copy=False)
        crowded = exp.Exists(this=exp.select(literal(1)).from_(crowd, copy=False).where(same, copy=False))
        rows = exp.select(*(column(name, "r") for name in self._columns)).from_(
            exp.alias_(exp.to_table(self._rows), "r", table=True, copy=False), copy=False
        )
        if which:
            rows = rows.where(column(which, "r"), copy=False)
        most = ranked(rows.where(crowded.copy()), by_time(NEWEST, "r"), "r")
        few = rows.where(exp.Not(this=crowded), copy=False)
        return exp.union(few, first_of(most, self._limit, self._columns), distinct=False, copy=False)
