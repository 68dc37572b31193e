"""Which events conditions remember, as SQL."""

from __future__ import annotations

from domain.audiences.events import EventCondition, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.sql.leaves import small
from domain.audiences.sql.relations import of_events
from domain.audiences.sql.sequences import kinds_of
from domain.audiences.sql.terms import Term, every, value, where_terms
from domain.audiences.windows import Window


def takes(condition: EventCondition) -> list[Term]:
    """Of a row of `events` as `e`, whether it may stand in each of the lists that the condition's state is of. Never
    null."""
    where = where_terms(condition.where, "e")
    match condition:
        case EventCount():
            return [every([*of_events(condition.event, condition.window, None), *where])]
        case EventSum():
            added = small(value("numbers", condition.sum, "e"))
            return [every([*of_events(condition.event, condition.window, None), *where, added])]
        case FirstOrLast():
            return [every([*of_events(condition.event, Window(), None), *where])]
        case Sequence():
            return kinds_of(condition)
