"""The leaves of a definition as SQL: each a set of profiles, those of whom it holds or those of whom it does
not, bounded as the incremental evaluator's memory is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sqlglot import exp

from domain.audiences.definition import AttributeCondition, ConsentCondition
from domain.audiences.events import MOST_COUNTED, SUM_LIMIT, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.leaves import micro
from domain.audiences.matching import OPERATORS
from domain.audiences.occurrences import meaning_id
from domain.audiences.sequences import SEQUENCE_LIMIT
from domain.audiences.sql.relations import (
    NEWEST,
    OLDEST,
    by_time,
    first_of,
    in_window,
    of_events,
    of_people,
    ranked,
    upto,
)
from domain.audiences.sql.terms import (
    Term,
    column,
    comparison_term,
    every,
    key,
    literal,
    negated,
    some,
    sure,
    value,
    where_terms,
)
from domain.audiences.windows import Window


class Asked(NamedTuple):
    """The moment that is asked about: log time in microseconds, and up to which position."""

    now: int
    position: int | None


class LeafQuery(NamedTuple):
    """The profiles of whom a leaf holds; with `violators` those of whom it does not."""

    id: str
    select: exp.Select
    violators: bool = False


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
            return _sequence(condition, asked)
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


def _grouped(rows: exp.Select, having: Term) -> exp.Select:
    return (
        exp.select(column("who"))
        .from_(rows.subquery("kept", copy=False), copy=False)
        .group_by(column("who"), copy=False)
        .having(having, copy=False)
    )


def _sliding_count(condition: EventCount, asked: Asked) -> LeafQuery:
    rows = of_people(
        "events",
        [column("occurred_at", "e")],
        [*of_events(condition.event, condition.window, asked.position), *where_terms(condition.where, "e")],
    )
    kept = first_of(ranked(rows, by_time(NEWEST)), MOST_COUNTED).where(
        every(in_window(column("occurred_at"), condition.window, asked.now)), copy=False
    )
    least, most = condition.bounds
    count = exp.Count(this=exp.Star())
    holds: list[Term] = [exp.GTE(this=count, expression=literal(least))]
    if most is not None:
        holds.append(exp.LTE(this=count.copy(), expression=literal(most)))
    return of_group(meaning_id("count", condition), kept, every(holds), holds_of_none=least == 0)


def of_group(id: str, kept: exp.Select, holds: Term, holds_of_none: bool) -> LeafQuery:
    """Whoever has no rows is in no group: where the leaf holds of them, the others are told."""
    having = negated(holds) if holds_of_none else holds
    return LeafQuery(id, _grouped(kept, having), violators=holds_of_none)


def _sum(condition: EventSum, asked: Asked) -> LeafQuery:
    number = value("numbers", condition.sum, "e")
    rows = of_people(
        "events",
        [column("occurred_at", "e"), exp.alias_(millionths(number), "amount", copy=False)],
        [
            *of_events(condition.event, condition.window, asked.position),
            small(number),
            *where_terms(condition.where, "e"),
        ],
    )
    kept = first_of(ranked(rows, by_time(NEWEST)), MOST_COUNTED).where(
        every(in_window(column("occurred_at"), condition.window, asked.now)), copy=False
    )
    total = exp.Sum(this=column("amount"))
    operations = {word: micro(amount) for word, amount in condition.operations.items()}
    holds = every(_COMPARE[word](this=total.copy(), expression=literal(n)) for word, n in operations.items())
    none = all(OPERATORS[word](0, n) for word, n in operations.items())
    return of_group(meaning_id("sum", condition), kept, holds, none)


def _first_or_last(condition: FirstOrLast, asked: Asked) -> LeafQuery:
    which, occasion = condition.occasion
    meets = every(where_terms(occasion.where, "e"))
    rows = of_people(
        "events",
        [column("occurred_at", "e"), exp.alias_(meets, "meets", copy=False)],
        [*of_events(condition.event, Window(), asked.position), *where_terms(condition.where, "e")],
    )
    one = first_of(ranked(rows, by_time(OLDEST if which == "first" else NEWEST)), 1)
    at, window = column("occurred_at"), occasion.window
    terms: list[Term] = [column("meets"), *in_window(at, window, asked.now)]
    if window.since is not None:
        terms.append(exp.GTE(this=at, expression=literal(window.since)))
    if window.until is not None:
        terms.append(exp.LT(this=at.copy(), expression=literal(window.until)))
    held = (
        exp.select(column("who"))
        .from_(one.subquery("one", copy=False), copy=False)
        .where(every(terms), copy=False)
    )
    return LeafQuery(meaning_id("occurrence", condition), held)


def _sequence(condition: Sequence, asked: Asked) -> LeafQuery:
    first = _kept(condition.event, where_terms(condition.where, "e"), asked, _keys(condition))
    answered = []
    for index, answer in enumerate(condition.answers):
        keys: list[Term] = [exp.alias_(key(answer.same, "e"), "k", copy=False)] if answer.same else []
        answers = _kept(answer.event, where_terms(answer.where, "e"), asked, keys)
        on: list[Term] = [
            exp.EQ(this=column("who", "a"), expression=column("who", "f")),
            exp.GTE(this=column("occurred_at", "a"), expression=column("occurred_at", "f")),
        ]
        wait = condition.wait_of(answer)
        if wait is not None:
            end = exp.Add(this=column("occurred_at", "f"), expression=literal(wait))
            on.append(exp.LTE(this=column("occurred_at", "a"), expression=end))
        if answer.event == condition.event:
            on.append(exp.NEQ(this=column("position", "a"), expression=column("position", "f")))
        if answer.same:
            on.append(exp.EQ(this=column("k", "a"), expression=column(f"k{index}", "f")))
        inner = (
            exp.select(literal(1))
            .from_(answers.subquery("a", copy=False), copy=False)
            .where(every(on), copy=False)
        )
        answered.append(exp.Exists(this=inner))
    any_answer = exp.or_(*answered, copy=False)
    query = exp.select(column("who", "f")).distinct().from_(first.subquery("f", copy=False), copy=False)
    if condition.then is not None:
        return LeafQuery(meaning_id("sequence", condition), query.where(any_answer, copy=False))
    ended = exp.LTE(this=column("occurred_at", "f"), expression=literal(asked.now - condition.within))
    return LeafQuery(meaning_id("sequence", condition), query.where(ended, negated(any_answer), copy=False))


def _keys(condition: Sequence) -> list[Term]:
    return [
        exp.alias_(key(answer.same, "e"), f"k{index}", copy=False)
        for index, answer in enumerate(condition.answers)
        if answer.same
    ]


def _kept(event: str, where: list[Term], asked: Asked, keys: list[Term]) -> exp.Select:
    rows = of_people(
        "events",
        [column("occurred_at", "e"), column("position", "e"), *keys],
        [*of_events(event, Window(), asked.position), *where],
    )
    return first_of(ranked(rows, by_time(NEWEST)), SEQUENCE_LIMIT)


def _attribute(condition: AttributeCondition, asked: Asked) -> LeafQuery:
    """The value that won is asked; an attribute whose name has the dots in it comes before the way into one."""
    path = condition.attribute
    names = list(dict.fromkeys((path, path.split(".")[0])))
    named = exp.In(this=column("name", "a"), expressions=[literal(name) for name in names])
    whole: Term = exp.Case(
        ifs=[exp.If(this=exp.EQ(this=column("name", "a"), expression=literal(path)), true=literal(1))],
        default=literal(0),
    )
    order = [(whole, NEWEST), (column("priority", "a"), NEWEST), *by_time(NEWEST, "a")]
    holds = comparison_term(path, condition, "a")
    absent = comparison_term_of_nothing(condition)
    told = negated(holds) if absent else holds
    rows = of_people(
        "attributes", [exp.alias_(told, "told", copy=False)], [named, *upto("a", asked.position)]
    )
    query = first_of(ranked(rows, order), 1, ("who",)).where(column("told"), copy=False)
    return LeafQuery(meaning_id("attribute", condition), query, violators=absent)


def comparison_term_of_nothing(condition: AttributeCondition) -> bool:
    """Whether the comparison holds of who does not have the attribute."""
    return all(OPERATORS[word](None, operand) for word, operand in condition.operations.items())


def _consent(condition: ConsentCondition, asked: Asked) -> LeafQuery:
    """What people have said themselves; the compiler adds what holds by default."""
    wanted = condition.is_ == "given"
    rows = of_people(
        "consents",
        [column("given", "c")],
        [
            exp.EQ(this=column("purpose", "c"), expression=literal(condition.consent)),
            *upto("c", asked.position),
        ],
    )
    told = column("given") if wanted else negated(column("given"))
    query = first_of(ranked(rows, by_time(NEWEST, "c")), 1, ("who",)).where(told, copy=False)
    return LeafQuery(meaning_id("consent", condition), query)
