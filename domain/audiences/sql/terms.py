"""Comparisons as SQL: of a row's values by kind, as `domain/audiences/flat.py` lays them out.

Every term is true or false and never null, so that NOT means what it means in the language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

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


def _equal(path: str, operand: Any, table: str) -> Term:
    if isinstance(operand, bool):
        return exp.EQ(this=value("truths", path, table), expression=literal(operand))
    if isinstance(operand, str):
        return exp.EQ(this=value("texts", path, table), expression=literal(operand))
    return exp.EQ(this=value("numbers", path, table), expression=double(operand))


def _ordered(kind: type[exp.Binary]) -> Callable[[str, Any, str], Term]:
    def term(path: str, operand: Any, table: str) -> Term:
        if isinstance(operand, str):
            return kind(this=value("texts", path, table), expression=literal(operand))
        return kind(this=value("numbers", path, table), expression=double(operand))

    return term


def _contains(path: str, operand: Any, table: str) -> Term:
    listed = exp.ArrayContains(this=value("lists", path, table), expression=literal(element(operand)))
    if not isinstance(operand, str):
        return listed
    inside = exp.GT(
        this=exp.StrPosition(this=value("texts", path, table), substr=literal(operand)),
        expression=literal(0),
    )
    return some([sure(inside), sure(listed)])


def _there(path: str, table: str) -> Term:
    kinds = ("texts", "numbers", "truths", "lists")
    held = [exp.Not(this=exp.Is(this=value(kind, path, table), expression=exp.null())) for kind in kinds]
    return some([*held, sure(exp.ArrayContains(this=column("objects", table), expression=literal(path)))])


_TERMS: Final[Mapping[str, Callable[[str, Any, str], Term]]] = {
    "is": _equal,
    "is_not": lambda path, operand, table: negated(sure(_equal(path, operand, table))),
    "in": lambda path, operand, table: some(sure(_equal(path, each, table)) for each in operand),
    "greater_than": _ordered(exp.GT),
    "at_least": _ordered(exp.GTE),
    "less_than": _ordered(exp.LT),
    "at_most": _ordered(exp.LTE),
    "contains": _contains,
    "starts_with": lambda path, operand, table: exp.StartsWith(
        this=value("texts", path, table), expression=literal(operand)
    ),
    "exists": lambda path, operand, table: _there(path, table) if operand else negated(_there(path, table)),
}


def comparison_term(path: str, comparison: Comparison, table: str = "") -> Term:
    """Whether all operators of a comparison hold of the value under a path."""
    return every(sure(_TERMS[word](path, operand, table)) for word, operand in comparison.operations.items())


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
