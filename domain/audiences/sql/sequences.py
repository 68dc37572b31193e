"""Sequences as SQL: an event that one of some answers followed in time, or none."""

from __future__ import annotations

from sqlglot import exp

from domain.audiences.events import Answer, Sequence
from domain.audiences.occurrences import meaning_id
from domain.audiences.sequences import SEQUENCE_LIMIT
from domain.audiences.sql.relations import Asked, LeafQuery, Remembered, of_events, of_people, upto
from domain.audiences.sql.terms import Term, column, every, key, literal, negated, some, where_terms
from domain.audiences.windows import Window


def sequence(condition: Sequence, asked: Asked) -> LeafQuery:
    """What takes part is read once: `is0` says of a row that it is a first event, `is1` that it is the first answer,
    and so on; an event may be several. `k0` is the key that the first answer's `same` asks for."""
    id, kinds = meaning_id("sequence", condition), kinds_of(condition)
    keys = [answer.same and key(answer.same, "e") for answer in condition.answers]
    events = (condition.event, *(answer.event for answer in condition.answers))
    named = [literal(name) for name in dict.fromkeys(events)]
    rows = of_people(
        "events",
        [
            column("occurred_at", "e"),
            column("position", "e"),
            *(exp.alias_(exp.paren(kind, copy=False), f"is{n}", copy=False) for n, kind in enumerate(kinds)),
            *(exp.alias_(told, f"k{n}", copy=False) for n, told in enumerate(keys) if told),
        ],
        [
            exp.In(this=column("name", "e"), expressions=named),
            *upto("e", asked.position),
            exp.paren(some(exp.paren(kind) for kind in kinds), copy=False),
        ],
    )
    told = Remembered(id, rows, SEQUENCE_LIMIT)
    answered = [
        _answered(told.newest(f"is{n + 1}"), n, answer, condition)
        for n, answer in enumerate(condition.answers)
    ]
    any_answer = exp.or_(*answered, copy=False)
    first = told.newest("is0").subquery("f", copy=False)
    query = exp.select(column("who", "f")).distinct().from_(first, copy=False)
    if condition.then is not None:
        return LeafQuery(id, query.where(any_answer, copy=False), tables=told.tables)
    ended = exp.LTE(this=column("occurred_at", "f"), expression=literal(asked.now - condition.within))
    return LeafQuery(id, query.where(ended, negated(any_answer), copy=False), tables=told.tables)


def kinds_of(condition: Sequence) -> list[Term]:
    """Of a row of `events` as `e`, whether it is a first event, and whether it is each of the answers."""
    parts = [(condition.event, condition.where), *((a.event, a.where) for a in condition.answers)]
    return [every([*of_events(event, Window(), None), *where_terms(where, "e")]) for event, where in parts]


def _answered(answers: exp.Query, number: int, answer: Answer, condition: Sequence) -> Term:
    """Whether one of these answers a first event."""
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
        on.append(exp.EQ(this=column(f"k{number}", "a"), expression=column(f"k{number}", "f")))
    inner = (
        exp.select(literal(1))
        .from_(answers.subquery("a", copy=False), copy=False)
        .where(every(on), copy=False)
    )
    return exp.Exists(this=inner)
