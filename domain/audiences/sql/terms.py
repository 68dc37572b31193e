"""Comparisons as SQL: of a row's values by kind, as `domain/audiences/flat.py` lays them out.

Every term is true or false and never null, so that NOT means what it means in the language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlglot import exp

from domain.audiences.comparisons import Comparison
from domain.audiences.flat import element
from domain.audiences.matching import as_number

Term = exp.Expr
#: The columns that hold a row's values.
VALUES: Final = ("texts", "numbers", "truths", "lists", "objects")


def column(name: str, table: str = "") -> exp.Column:
    return exp.column(name, table=table or None, quoted=False)


def literal(value: Any) -> Term:
    return exp.convert(value)


def double(value: float) -> Term:
    """A number as a double, which no engine takes for a decimal."""
    return exp.cast(exp.Literal.number(repr(as_number(value))), "double")


def sure(term: Term) -> Term:
    """False where it would be null."""
    return exp.Coalesce(this=term, expressions=[exp.false()])


def negated(term: Term) -> Term:
    return exp.Not(this=exp.paren(term, copy=False))


def every(terms: Iterable[Term]) -> Term:
    several = list(terms)
    return exp.and_(*several, copy=False) if several else exp.true()


def some(terms: Iterable[Term]) -> Term:
    several = list(terms)
    return exp.or_(*several, copy=False) if several else exp.false()


def value(kind: str, path: str, table: str = "") -> Term:
    """The value of a kind under a path; null where there is none."""
    return exp.Bracket(this=column(kind, table), expressions=[literal(path)])


class Values(NamedTuple):
    """Where a value is found, by its kind: at most one of them is not null. `objects` is whether it is an object;
    `listed` makes the term of whether it is a list with an element in it. A kind that it cannot be is `None`."""

    texts: Term | None = None
    numbers: Term | None = None
    truths: Term | None = None
    lists: Term | None = None
    objects: Term | None = None
    listed: Callable[[Any], Term] | None = None


def _equal(values: Values, operand: Any) -> Term:
    if isinstance(operand, bool):
        held, told = values.truths, literal(operand)
    elif isinstance(operand, str):
        held, told = values.texts, literal(operand)
    else:
        held, told = values.numbers, double(operand)
    return exp.false() if held is None else exp.EQ(this=held.copy(), expression=told)


def _ordered(kind: type[exp.Binary]) -> Callable[[Values, Any], Term]:
    def term(values: Values, operand: Any) -> Term:
        text = isinstance(operand, str)
        held = values.texts if text else values.numbers
        if held is None:
            return exp.false()
        return kind(this=held.copy(), expression=literal(operand) if text else double(operand))

    return term


def _contains(values: Values, operand: Any) -> Term:
    parts = [] if values.listed is None else [sure(values.listed(operand))]
    if isinstance(operand, str) and values.texts is not None:
        inside = exp.StrPosition(this=values.texts.copy(), substr=literal(operand))
        parts.append(sure(exp.GT(this=inside, expression=literal(0))))
    return some(parts) if parts else exp.false()


def _starts_with(values: Values, operand: Any) -> Term:
    if values.texts is None:
        return exp.false()
    return exp.StartsWith(this=values.texts.copy(), expression=literal(operand))


def _there(values: Values) -> Term:
    kinds = [kind for kind in (values.texts, values.numbers, values.truths, values.lists) if kind is not None]
    held: list[Term] = [exp.Not(this=exp.Is(this=kind.copy(), expression=exp.null())) for kind in kinds]
    return some([*held, *([] if values.objects is None else [sure(values.objects)])])


_TERMS: Final[Mapping[str, Callable[[Values, Any], Term]]] = {
    "is": _equal,
    "is_not": lambda values, operand: negated(sure(_equal(values, operand))),
    "in": lambda values, operand: some(sure(_equal(values, each)) for each in operand),
    "greater_than": _ordered(exp.GT),
    "at_least": _ordered(exp.GTE),
    "less_than": _ordered(exp.LT),
    "at_most": _ordered(exp.LTE),
    "contains": _contains,
    "starts_with": _starts_with,
    "exists": lambda values, operand: _there(values) if operand else negated(_there(values)),
}


def meets(comparison: Comparison, values: Values) -> Term:
    """Whether all operators of a comparison hold of a value."""
    return every(sure(_TERMS[word](values, operand)) for word, operand in comparison.operations.items())


def values_at(path: str, table: str = "") -> Values:
    """The value under a path, of whatever kind."""
    lists = value("lists", path, table)
    return Values(
        value("texts", path, table),
        value("numbers", path, table),
        value("truths", path, table),
        lists,
        exp.ArrayContains(this=column("objects", table), expression=literal(path)),
        lambda operand: exp.ArrayContains(this=lists.copy(), expression=literal(element(operand))),
    )


def comparison_term(path: str, comparison: Comparison, table: str = "") -> Term:
    """Whether all operators of a comparison hold of the value under a path."""
    return meets(comparison, values_at(path, table))


def where_terms(where: Mapping[str, Comparison], table: str = "") -> list[Term]:
    """What must hold of an event's properties."""
    return [comparison_term(path, comparison, table) for path, comparison in where.items()]


def key(path: str, table: str) -> Term:
    """What `same` compares, as text; null where there is nothing that could be equal."""
    return exp.Coalesce(
        this=exp.DPipe(this=literal("t:"), expression=value("texts", path, table)),
        expressions=[
            exp.DPipe(
                this=literal("n:"),
                expression=exp.cast(value("numbers", path, table), exp.DType.TEXT, copy=False),
            ),
            exp.DPipe(
                this=literal("b:"),
                expression=exp.cast(value("truths", path, table), exp.DType.TEXT, copy=False),
            ),
        ],
    )
