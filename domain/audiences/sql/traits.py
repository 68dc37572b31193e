"""A computed trait as SQL: the people whose value meets a comparison, or of whom it does not."""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from domain.audiences.definition import TraitCondition
from domain.audiences.matching import matcher
from domain.audiences.occurrences import meaning_id
from domain.audiences.sql.leaves import millionths, of_group, small
from domain.audiences.sql.relations import (
    NEWEST,
    OLDEST,
    Asked,
    LeafQuery,
    by_time,
    first_of,
    in_window,
    of_events,
    of_people,
    ranked,
)
from domain.audiences.sql.terms import (
    Term,
    Values,
    column,
    every,
    literal,
    meets,
    some,
    sure,
    value,
    where_terms,
)
from domain.traits.definition import DAY, FROM_ZERO, LONGEST_VALUE, MOST_KEPT, OF_NUMBERS, Trait

#: The columns of a row that hold the property's value, by its kind.
_KINDS: Final = (("text", "texts"), ("number", "numbers"), ("truth", "truths"))


def trait_leaf(condition: TraitCondition, trait: Trait, asked: Asked) -> LeafQuery:
    """Of somebody with more different values than are told apart, bulk sees all of them."""
    rows = of_people(
        "events",
        [column("occurred_at", "e"), column("position", "e"), *_columns(trait)],
        [
            *of_events(trait.event, trait.window, asked.position),
            *_has_value(trait),
            *where_terms(trait.where, "e"),
        ],
    )
    window = trait.window
    if window.within is not None or window.before is not None:
        rows = first_of(ranked(rows, by_time(NEWEST)), MOST_KEPT).where(
            every(in_window(column("occurred_at"), window, asked.now)), copy=False
        )
    if trait.compute in ("first", "last", "most_frequent"):
        rows = _one_value(rows, trait.compute)
    of_nobody = matcher(condition)(0 if trait.compute in FROM_ZERO else None)
    id = meaning_id(f"trait:{meaning_id('trait', trait, frozenset({'description'}))}", condition)
    return of_group(id, rows, meets(condition, _values(trait, asked.now)), of_nobody)


def _columns(trait: Trait) -> list[Term]:
    if trait.of is None:
        return []
    if trait.compute in OF_NUMBERS:
        number = value("numbers", trait.of, "e")
        return [
            exp.alias_(number, "number", copy=False),
            exp.alias_(millionths(number), "amount", copy=False),
        ]
    return [exp.alias_(value(kind, trait.of, "e"), name, copy=False) for name, kind in _KINDS]


def _has_value(trait: Trait) -> list[Term]:
    """Whether an event has a value for the trait."""
    if trait.of is None:
        return []
    if trait.compute in OF_NUMBERS:
        return [small(value("numbers", trait.of, "e"))]
    text = exp.LTE(this=exp.Length(this=value("texts", trait.of, "e")), expression=literal(LONGEST_VALUE))
    others: list[Term] = [
        exp.Not(this=exp.Is(this=value(kind, trait.of, "e"), expression=exp.null()))
        for _, kind in _KINDS
        if kind != "texts"
    ]
    return [some([sure(text), *others])]


def _one_value(rows: exp.Select, compute: str) -> exp.Select:
    """The one row of each person that has the value."""
    names = [column(name) for name, _ in _KINDS]
    if compute == "most_frequent":
        counted = (
            exp.select(column("who"), *names, exp.alias_(exp.Count(this=exp.Star()), "often", copy=False))
            .from_(rows.subquery("valued", copy=False), copy=False)
            .group_by(column("who"), *[name.copy() for name in names], copy=False)
        )
        order = [("often", NEWEST), ("truth", OLDEST), ("number", OLDEST), ("text", OLDEST)]
    else:
        counted = exp.select(column("who"), column("occurred_at"), column("position"), *names).from_(
            rows.subquery("valued", copy=False), copy=False
        )
        way = OLDEST if compute == "first" else NEWEST
        order = [("occurred_at", way), ("position", way)]
    ordered = [exp.Ordered(this=column(name), desc=way == NEWEST, nulls_first=False) for name, way in order]
    place = exp.Window(
        this=exp.RowNumber(), partition_by=[column("who")], order=exp.Order(expressions=ordered)
    )
    return first_of(counted.select(exp.alias_(place, "place", copy=False), copy=False), 1)


def _values(trait: Trait, now: int) -> Values:
    """What a person's rows come to, by the kind that it has."""
    match trait.compute:
        case "count":
            return Values(numbers=_double(exp.Count(this=exp.Star())))
        case "sum" | "average":
            total = exp.Div(
                this=_double(exp.Sum(this=column("amount"))),
                expression=_double(literal(1_000_000)),
                typed=False,
                safe=False,
            )
            if trait.compute == "sum":
                return Values(numbers=total)
            count = _double(exp.Count(this=exp.Star()))
            return Values(numbers=exp.Div(this=total, expression=count, typed=False, safe=False))
        case "min":
            return Values(numbers=exp.Min(this=column("number")))
        case "max":
            return Values(numbers=exp.Max(this=column("number")))
        case "time_since":
            since = exp.Sub(this=literal(now), expression=exp.Max(this=column("occurred_at")))
            days = exp.Div(this=_double(exp.paren(since)), expression=_double(literal(DAY)))
            return Values(numbers=exp.Floor(this=days))
        case "distinct_count":
            parts = [exp.Count(this=exp.Distinct(expressions=[column(name)])) for name, _ in _KINDS]
            both: Term = exp.Add(this=parts[0], expression=parts[1])
            return Values(numbers=_double(exp.paren(exp.Add(this=both, expression=parts[2]))))
        case "distinct":
            return Values(lists=exp.Count(this=exp.Star()), listed=_listed)
        case _:
            return Values(
                exp.Max(this=column("text")),
                exp.Max(this=column("number")),
                exp.LogicalOr(this=column("truth")),
            )


def _listed(operand: Any) -> Term:
    """Whether any row has this value."""
    name = "truth" if isinstance(operand, bool) else "text" if isinstance(operand, str) else "number"
    told = _double(literal(operand)) if name == "number" else literal(operand)
    return exp.LogicalOr(this=exp.EQ(this=column(name), expression=told))


def _double(term: Term) -> Term:
    return exp.cast(term, exp.DType.DOUBLE, copy=False)
