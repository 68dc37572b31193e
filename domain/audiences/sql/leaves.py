"""The leaves of a definition as SQL: each a set of profiles, those of whom it holds or those of whom it does
not, bounded as the incremental evaluator's memory is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlglot import exp

from domain.audiences.definition import AttributeCondition, ConsentCondition
from domain.audiences.events import (
    MOST_COUNTED,
    SUM_LIMIT,
    EventCount,
    EventSum,
    FirstOrLast,
    Sequence,
)
from domain.audiences.leaves import micro
from domain.audiences.matching import OPERATORS
from domain.audiences.occurrences import meaning_id
from domain.audiences.sql.relations import (
    NEWEST,
    OLDEST,
    Asked,
    LeafQuery,
    Remembered,
    by_time,
    first_of,
    in_window,
    of_events,
    of_people,
    of_whom_first,
    ranked,
    upto,
)
from domain.audiences.sql.sequences import sequence
from domain.audiences.sql.terms import (
    Term,
    column,
    comparison_term,
    every,
    literal,
    negated,
    some,
    sure,
    value,
    where_terms,
)
from domain.audiences.windows import Window

_COMPARE: Final[Mapping[str, type[exp.Binary]]] = {
    "greater_than": exp.GT,
    "at_least": exp.GTE,
    "less_than": exp.LT,
    "at_most": exp.LTE,
}


def slides(condition: EventCount) -> bool:
    """Whether both ends of the window move, so that the evaluator keeps a bounded number of the newest."""
    return condition.window.within is not None and condition.window.before is not None


def count_of(condition: EventCount, asked: Asked) -> tuple[str, Term]:
    """A count's name, and which events count."""
    window = condition.window
    terms = [
        *of_events(condition.event, window, None),
        *in_window(column("occurred_at", "e"), window, asked.now),
        *where_terms(condition.where, "e"),
    ]
    return f"c_{meaning_id('count', condition)}", every(terms)


def counts(terms: Mapping[str, Term], names: Iterable[str], asked: Asked) -> exp.Select:
    """All counts of a query, in one pass. Events that none of them counts are left out before people are looked up."""
    named = exp.In(this=column("name", "e"), expressions=[literal(name) for name in sorted(names)])
    columns = [exp.alias_(_counting(term), id, copy=False) for id, term in terms.items()]
    counted = some(exp.paren(term.copy(), copy=False) for term in terms.values())
    return of_people("events", columns, [named, *upto("e", asked.position), counted]).group_by(
        column("who", "i"), copy=False
    )


def _counting(term: Term) -> Term:
    return exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=term))


Leaf = EventCount | EventSum | FirstOrLast | Sequence | AttributeCondition | ConsentCondition


def leaf_of(condition: Leaf, asked: Asked) -> LeafQuery:
    """A leaf that is not a plain count."""
    match condition:
        case EventCount():
            return _sliding_count(condition, asked)
        case EventSum():
            return _sum(condition, asked)
        case FirstOrLast():
            return _first_or_last(condition, asked)
        case Sequence():
            return sequence(condition, asked)
        case AttributeCondition():
            return _attribute(condition, asked)
        case ConsentCondition():
            return _consent(condition, asked)


def millionths(number: Term) -> Term:
    """A number as it is added up."""
    times = exp.Mul(this=number.copy(), expression=exp.cast(literal(1_000_000), exp.DType.DOUBLE, copy=False))
    return exp.cast(exp.Round(this=times), "bigint")


def small(number: Term) -> Term:
    """Whether it is a number that can be added up."""
    limit = exp.cast(literal(SUM_LIMIT), exp.DType.DOUBLE, copy=False)
    return sure(exp.LT(this=exp.Abs(this=number.copy()), expression=limit))


def _grouped(rows: exp.Query, having: Term) -> exp.Select:
    return (
        exp.select(column("who"))
        .from_(rows.subquery("kept", copy=False), copy=False)
        .group_by(column("who"), copy=False)
        .having(having, copy=False)
    )


def _sliding_count(condition: EventCount, asked: Asked) -> LeafQuery:
    id, window, at = meaning_id("count", condition), condition.window, column("occurred_at", "e")
    rows = of_people(
        "events",
        [at, column("position", "e")],
        [
            *of_events(condition.event, window, asked.position),
            *in_window(at, window._replace(before=None), asked.now),
            *where_terms(condition.where, "e"),
        ],
    )
    told = Remembered(id, rows, MOST_COUNTED)
    least, most = condition.bounds
    count = _inside(exp.Count(this=exp.Star()), column("occurred_at"), window, asked.now)
    holds: list[Term] = [exp.GTE(this=count, expression=literal(least))]
    if most is not None:
        holds.append(exp.LTE(this=count.copy(), expression=literal(most)))
    return of_group(id, told.newest(), every(holds), least == 0)._replace(tables=told.tables)


def of_group(id: str, kept: exp.Query, holds: Term, holds_of_none: bool) -> LeafQuery:
    """Whoever has no rows is in no group: where the leaf holds of them, the others are told."""
    having = negated(holds) if holds_of_none else holds
    return LeafQuery(id, _grouped(kept, having), violators=holds_of_none)


def _sum(condition: EventSum, asked: Asked) -> LeafQuery:
    """Nearly nobody has more than are remembered: all are added up in one pass, and only who has is ranked."""
    id, window = meaning_id("sum", condition), condition.window
    number, at = value("numbers", condition.sum, "e"), column("occurred_at", "e")
    amount = exp.Case(ifs=[exp.If(this=small(number), true=millionths(number))])
    those = [
        *of_events(condition.event, window, asked.position),
        *in_window(at, window._replace(before=None), asked.now),
        *where_terms(condition.where, "e"),
    ]
    operations = {word: micro(limit) for word, limit in condition.operations.items()}
    none = all(OPERATORS[word](0, limit) for word, limit in operations.items())

    def told(total: Term) -> Term:
        sum = exp.Coalesce(this=total, expressions=[literal(0)])
        holds = every(
            _COMPARE[word](this=sum.copy(), expression=literal(n)) for word, n in operations.items()
        )
        return negated(holds) if none else holds

    totals, many = f"totals_{id}", column("many")
    sums = of_people(
        "events",
        [
            exp.alias_(exp.Count(this=exp.Star()), "many", copy=False),
            exp.alias_(_inside(exp.Sum(this=amount), at, window, asked.now), "total", copy=False),
        ],
        those,
    ).group_by(column("who", "i"), copy=False)
    asked_of = exp.select(column("who")).from_(exp.to_table(totals), copy=False)
    few = asked_of.where(exp.LTE(this=many, expression=literal(MOST_COUNTED)), told(column("total")))
    crowd = asked_of.where(exp.GT(this=many.copy(), expression=literal(MOST_COUNTED)))
    rows = of_people(
        "events",
        [at.copy(), exp.alias_(amount.copy(), "amount", copy=False)],
        [
            *(term.copy() for term in those),
            small(number),
            exp.In(this=column("who", "i"), query=crowd.subquery(copy=False)),
        ],
    )
    newest = first_of(ranked(rows, by_time(NEWEST)), MOST_COUNTED)
    total = _inside(exp.Sum(this=column("amount")), column("occurred_at"), window, asked.now)
    either = exp.union(few, _grouped(newest, told(total)), distinct=False, copy=False)
    return LeafQuery(id, either, none, {totals: sums})


def _inside(aggregate: Term, at: Term, window: Window, now: int) -> Term:
    """An aggregate of what is in the window, of rows that are newer than its older end."""
    if window.before is None:
        return aggregate
    inside = every(in_window(at, window._replace(within=None), now))
    return exp.Filter(this=aggregate, expression=exp.Where(this=inside))


def _first_or_last(condition: FirstOrLast, asked: Asked) -> LeafQuery:
    which, occasion = condition.occasion
    if not occasion.where:
        return _first_or_last_time(condition, asked)
    at = column("occurred_at", "e")
    meets = every([*where_terms(occasion.where, "e"), *_then(at, occasion.window, asked.now)])
    rows = of_people(
        "events",
        [],
        [*of_events(condition.event, Window(), asked.position), *where_terms(condition.where, "e")],
    )
    order = [at.copy(), column("position", "e")]
    held = of_whom_first(rows, meets, order, OLDEST if which == "first" else NEWEST)
    return LeafQuery(meaning_id("occurrence", condition), held)


def _first_or_last_time(condition: FirstOrLast, asked: Asked) -> LeafQuery:
    """Of whom nothing is asked but when it was, nobody needs to be ranked."""
    which, occasion = condition.occasion
    at = column("occurred_at", "e")
    time: Term = exp.Min(this=at) if which == "first" else exp.Max(this=at)
    rows = of_people(
        "events",
        [],
        [*of_events(condition.event, Window(), asked.position), *where_terms(condition.where, "e")],
    )
    held = rows.group_by(column("who", "i"), copy=False).having(
        every(_then(time, occasion.window, asked.now)), copy=False
    )
    return LeafQuery(meaning_id("occurrence", condition), held)


def _then(at: Term, window: Window, now: int) -> list[Term]:
    """Whether a time is in a window, whose ends move or stay."""
    terms = in_window(at, window, now)
    if window.since is not None:
        terms.append(exp.GTE(this=at.copy(), expression=literal(window.since)))
    if window.until is not None:
        terms.append(exp.LT(this=at.copy(), expression=literal(window.until)))
    return terms


def _attribute(condition: AttributeCondition, asked: Asked) -> LeafQuery:
    """The value that won is asked; an attribute whose name has the dots in it comes before the way into one."""
    path = condition.attribute
    names = list(dict.fromkeys((path, path.split(".")[0])))
    named = exp.In(this=column("name", "a"), expressions=[literal(name) for name in names])
    order: list[Term] = [column(name, "a") for name in ("priority", "occurred_at", "position")]
    if len(names) > 1:
        whole = exp.If(this=exp.EQ(this=column("name", "a"), expression=literal(path)), true=literal(1))
        order.insert(0, exp.Case(ifs=[whole], default=literal(0)))
    holds = comparison_term(path, condition, "a")
    absent = comparison_term_of_nothing(condition)
    rows = of_people("attributes", [], [named, *upto("a", asked.position)])
    query = of_whom_first(rows, negated(holds) if absent else holds, order)
    return LeafQuery(meaning_id("attribute", condition), query, violators=absent)


def comparison_term_of_nothing(condition: AttributeCondition) -> bool:
    """Whether the comparison holds of who does not have the attribute."""
    return all(OPERATORS[word](None, operand) for word, operand in condition.operations.items())


def _consent(condition: ConsentCondition, asked: Asked) -> LeafQuery:
    """What people have said themselves; the compiler adds what holds by default."""
    wanted = condition.is_ == "given"
    named = exp.EQ(this=column("purpose", "c"), expression=literal(condition.consent))
    rows = of_people("consents", [], [named, *upto("c", asked.position)])
    given = column("given", "c")
    order = [column("occurred_at", "c"), column("position", "c")]
    query = of_whom_first(rows, given if wanted else negated(given), order)
    return LeafQuery(meaning_id("consent", condition), query)
