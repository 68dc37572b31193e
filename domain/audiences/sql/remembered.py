"""Which events conditions remember anything of, as SQL: what need not be read to fold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sqlglot import exp

from domain.audiences.comparisons import Comparison
from domain.audiences.events import EventCondition, Sequence
from domain.audiences.sql.terms import Term, column, every, literal, some, where_terms


def remembered(conditions: Iterable[EventCondition]) -> Term:
    """Of a row of `events` as `e`, whether it may be remembered for any of these conditions."""
    asked = [pair for condition in conditions for pair in _asked(condition)]
    return some(exp.paren(every([_named(name), *where_terms(where, "e")])) for name, where in asked)


def _asked(condition: EventCondition) -> Iterator[tuple[str, Mapping[str, Comparison]]]:
    yield condition.event, condition.where
    if isinstance(condition, Sequence):
        yield from ((answer.event, answer.where) for answer in condition.answers)


def _named(name: str) -> Term:
    return exp.EQ(this=column("name", "e"), expression=literal(name))
