"""Counts, sums, first and last occurrences: each a mergeable fold with bounded state, a list of the occurrences that
are `kept` of events with these `names`."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from domain.audiences.events import MOST_COUNTED, SUM_LIMIT, EventCount, EventSum, FirstOrLast
from domain.audiences.matching import OPERATORS, properties_matcher, value_at
from domain.audiences.occurrences import (
    NOT_FOUND,
    REASONS,
    Event,
    Finding,
    Kept,
    Occurrence,
    insert,
    meaning_id,
    union,
)

_MICRO: Final = 1_000_000


def micro(value: float) -> int:
    """A value in millionths, rounded half away from zero as SQL rounds, so that sums are exact."""
    scaled = float(value) * _MICRO
    # Nearly every amount: whole already.
    return int(scaled) if scaled.is_integer() else int(Decimal(scaled).to_integral_value(ROUND_HALF_UP))


class CountLeaf:
    """How often an event happened. Keeps as many occurrences as it takes to tell; of a window both of whose
    ends move, the newest `MOST_COUNTED`."""

    def __init__(self, condition: EventCount) -> None:
        self.condition = condition
        self.id = meaning_id("count", condition)
        self.names = (condition.event,)
        self._matches = properties_matcher(condition.where)
        self._window = condition.window
        self._least, self._most = condition.bounds
        #: The counts at which it comes to hold or ceases to; no bounds are without one.
        self._edges = sorted(n for n in (self._least, None if self._most is None else self._most + 1) if n)
        self._moves = self._window.moves
        sliding = self._window.within is not None and self._window.before is not None
        self._limit = MOST_COUNTED if sliding else self._edges[-1]
        # What is longer ago than so much becomes more with time, and the oldest are there first.
        self._oldest = self._window.before is not None and not sliding
        self._sliding = sliding
        self.kept = (Kept(self._limit, self._oldest),)

    def empty(self) -> list[Occurrence]:
        return []

    def fold(self, state: list[Occurrence], event: Event) -> bool:
        if not self._window.takes(event.occurred_at):
            return False
        if self._matches is not None and not self._matches(event.properties):
            return False
        before = len(state)
        if not insert(state, [event.occurred_at, event.position], self._limit, self._oldest):
            return False
        if self._moves:
            return self._sliding or len(state) >= self._edges[0]
        return len(state) != before and len(state) in self._edges

    def merge(self, a: list[Occurrence], b: list[Occurrence]) -> list[Occurrence]:
        return union(a, b, self._limit, self._oldest)

    def find(self, state: list[Occurrence] | None, now: int) -> Finding:
        inside = self._window.inside(state or [], now)
        count = len(inside)
        holds = count >= self._least and (self._most is None or count <= self._most)
        because = tuple([each[1] for each in inside[:REASONS]]) if holds else ()
        return Finding(holds, self._due(state or [], count, now), because)

    def _due(self, kept: list[Occurrence], count: int, now: int) -> int | None:
        """When so many have entered or left the window that the answer may change."""
        window = self._window
        if self._sliding:
            return window.next_change(kept, now)
        if window.within is not None:
            leaving = [kept[edge - 1][0] + window.within for edge in self._edges if edge <= count]
            return min(leaving, default=None)
        if window.before is not None:
            entering = [kept[e - 1][0] + window.before for e in self._edges if count < e <= len(kept)]
            return min(entering, default=None)
        return None


class SumLeaf:
    """What a property adds up to. Keeps the newest `MOST_COUNTED` occurrences that have it as a number."""

    def __init__(self, condition: EventSum) -> None:
        self.condition = condition
        self.id = meaning_id("sum", condition)
        self.names = (condition.event,)
        self.kept = (Kept(MOST_COUNTED, False, (condition.sum,), lambda values: micro(values[0])),)
        self._matches = properties_matcher(condition.where)
        self._path = condition.sum
        self._window = condition.window
        self._checks = [(OPERATORS[word], micro(amount)) for word, amount in condition.operations.items()]

    def empty(self) -> list[Occurrence]:
        return []

    def fold(self, state: list[Occurrence], event: Event) -> bool:
        value = value_at(event.properties, self._path)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < SUM_LIMIT:
            return False
        if not self._window.takes(event.occurred_at):
            return False
        if self._matches is not None and not self._matches(event.properties):
            return False
        return insert(state, [event.occurred_at, event.position, micro(value)], MOST_COUNTED)

    def merge(self, a: list[Occurrence], b: list[Occurrence]) -> list[Occurrence]:
        return union(a, b, MOST_COUNTED)

    def find(self, state: list[Occurrence] | None, now: int) -> Finding:
        kept = state or []
        inside = self._window.inside(kept, now)
        total = sum([each[2] for each in inside])
        holds = all(check(total, operand) for check, operand in self._checks)
        because = tuple([each[1] for each in inside[:REASONS]]) if holds else ()
        return Finding(holds, self._window.next_change(kept, now), because)


class FirstOrLastLeaf:
    """The first or the last occurrence, and whether its properties are as asked."""

    def __init__(self, condition: FirstOrLast) -> None:
        self.condition = condition
        self.id = meaning_id("occurrence", condition)
        self.names = (condition.event,)
        self._matches = properties_matcher(condition.where)
        which, occasion = condition.occasion
        self._oldest = which == "first"
        self._meets = meets = properties_matcher(occasion.where)
        paths = tuple(occasion.where)
        self.kept = (
            Kept(
                1,
                self._oldest,
                paths,
                lambda values: meets is None or meets(dict(zip(paths, values, strict=True))),
            ),
        )
        self._window = occasion.window

    def empty(self) -> list[Occurrence]:
        return []

    def fold(self, state: list[Occurrence], event: Event) -> bool:
        if self._matches is not None and not self._matches(event.properties):
            return False
        meets = self._meets is None or self._meets(event.properties)
        return insert(state, [event.occurred_at, event.position, meets], 1, self._oldest)

    def merge(self, a: list[Occurrence], b: list[Occurrence]) -> list[Occurrence]:
        return union(a, b, 1, self._oldest)

    def find(self, state: list[Occurrence] | None, now: int) -> Finding:
        if not state:
            return NOT_FOUND
        [[at, position, meets]] = state
        if not meets or not self._window.takes(at):
            return NOT_FOUND
        holds = bool(self._window.inside(state, now))
        return Finding(holds, self._window.next_change(state, now), (position,) if holds else ())


EventLeaf = CountLeaf | SumLeaf | FirstOrLastLeaf
