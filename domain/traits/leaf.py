"""A computed trait as a mergeable fold: what is remembered of a person, and the value that it comes to at a log time.

A record is folded once. What adds up remembers up to which position it has, so that a record that is folded again, as
when history is read for another definition, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import floor
from typing import Any, Final

from domain.audiences.flat import element
from domain.audiences.matching import properties_matcher, value_at
from domain.audiences.occurrences import REASONS, Event, insert, meaning_id, union
from domain.audiences.windows import Window
from domain.traits.definition import DAY, FROM_ZERO, MOST_KEPT, MOST_VALUES, OF_NUMBERS, OF_VALUES, Trait
from domain.traits.values import (
    add,
    add_parts,
    bounded,
    counted,
    most_frequent,
    number_of,
    plain,
    plainly,
    rank,
    scalar_in,
    scalar_of,
    total_of,
)

#: What goes by one occurrence, where no window moves.
_OF_ONE: Final = ("first", "last", "time_since")


class TraitLeaf:
    """Its state is a list, by what is computed:

    - of a window that moves, occurrences `[occurred_at, position, value]`, newest first;
    - `first`, `last` and `time_since`: the one occurrence that counts;
    - `count`, `sum`, `average`: position, count and the total's two parts;
    - `min`, `max`: the value, and its position;
    - those of values: position, value → how often, and the highest rank that stays.
    """

    def __init__(self, trait: Trait) -> None:
        self.id = meaning_id("trait", trait, frozenset({"description"}))
        self.names = (trait.event,)
        self.compute = trait.compute
        self._matches = properties_matcher(trait.where)
        self._path = trait.of
        self._read = number_of if trait.compute in OF_NUMBERS else scalar_of
        self._window = trait.window
        self._always = self._window == Window()
        #: So many occurrences are remembered; none where what is computed needs less than that.
        self._kept = MOST_KEPT if self._window.moves else 1 if trait.compute in _OF_ONE else 0
        self._oldest = trait.compute == "first" and not self._window.moves
        self._take = self._way()

    def _way(self) -> Callable[[list[Any], Event, Any], bool]:
        """How an event's value is taken in."""
        if self._kept:
            return self._take_occurrence
        if self.compute in ("min", "max"):
            return self._take_extreme
        return _take_value if self.compute in OF_VALUES else _take_amount

    def empty(self) -> list[Any]:
        return []

    def fold(self, state: list[Any], event: Event) -> bool:
        """Folds an event in, in place; whether it counts."""
        if not self._always and not self._window.takes(event.occurred_at):
            return False
        properties = event.properties
        value = True if self._path is None else self._read(value_at(properties, self._path))
        if value is None or (self._matches is not None and not self._matches(properties)):
            return False
        return self._take(state, event, value)

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        """What is remembered of somebody who did what both did."""
        if not a or not b:
            return a or b
        if self._kept:
            return union(a, b, self._kept, self._oldest)
        if self.compute in ("min", "max"):
            merged = list(a)
            self._extreme(merged, b)
            return merged
        position = max(a[0], b[0])
        if self.compute in OF_VALUES:
            counts = dict(a[1])
            for key, count in b[1].items():
                counts[key] = counts.get(key, 0) + count
            highest = min((r for r in (a[2], b[2]) if r), default="")
            counts = {key: count for key, count in counts.items() if not highest or rank(key) <= highest}
            kept, edge = bounded(counts)
            return [position, kept, edge or highest]
        merged = [position, a[1] + b[1], *a[2:]]
        add_parts(merged, *b[2:])
        return merged

    def value(self, state: list[Any] | None, now: int) -> Any:
        """What it comes to at this log time (microseconds); `None` where there is no value."""
        if self._window.moves:
            return self._of_window(self._window.inside(state or [], now), now)
        if not state:
            return 0 if self.compute in FROM_ZERO else None
        match self.compute:
            case "count":
                return state[1]
            case "sum":
                return plain(total_of(state[2:]))
            case "average":
                return plain(total_of(state[2:]) / state[1])
            case "min" | "max":
                return plain(state[0])
            case "first" | "last":
                return plainly(state[0][2])
            case "time_since":
                return (now - state[0][0]) // DAY
            case _:
                return self._of_counts(state[1])

    def because(self, state: list[Any] | None, now: int) -> tuple[int, ...]:
        """The log positions of some of the records that it comes from, the newest first."""
        if not state:
            return ()
        if self._window.moves:
            return tuple(each[1] for each in self._window.inside(state, now)[:REASONS])
        if self._kept:
            return (state[0][1],)
        return (state[1],) if self.compute in ("min", "max") else (state[0],)

    def due(self, state: list[Any] | None, now: int, days: Iterable[float] | None = None) -> int | None:
        """The next log time at which it may change with no further event. With `days`, changes of `time_since`
        between these do not count."""
        found: list[int] = []
        if self._window.moves:
            at = self._window.next_change(state or [], now)
            found = [] if at is None else [at]
        if self.compute == "time_since":
            inside = self._window.inside(state or [], now)
            if inside:
                last = inside[0][0]
                passed = (now - last) // DAY
                edges = [passed + 1] if days is None else [d for n in days for d in (floor(n), floor(n) + 1)]
                found += [last + day * DAY for day in edges if day > passed]
        return min(found, default=None)

    def _take_occurrence(self, state: list[Any], event: Event, value: Any) -> bool:
        return insert(state, [event.occurred_at, event.position, value], self._kept, self._oldest)

    def _take_extreme(self, state: list[Any], event: Event, value: Any) -> bool:
        return self._extreme(state, [value, event.position])

    def _extreme(self, state: list[Any], other: list[Any]) -> bool:
        sign = 1 if self.compute == "max" else -1
        if state and (sign * state[0], -state[1]) >= (sign * other[0], -other[1]):
            return False
        state[:] = other
        return True

    def _of_window(self, inside: list[list[Any]], now: int) -> Any:
        if not inside:
            return 0 if self.compute in FROM_ZERO else None
        values = [each[2] for each in inside]
        match self.compute:
            case "count":
                return len(inside)
            case "sum" | "average":
                total = [0, 0]
                for value in values:
                    add(total, value)
                return plain(total_of(total) / (1 if self.compute == "sum" else len(values)))
            case "min":
                return plain(min(values))
            case "max":
                return plain(max(values))
            case "first" | "last":
                return plainly(values[-1 if self.compute == "first" else 0])
            case "time_since":
                return (now - inside[0][0]) // DAY
            case _:
                return self._of_counts(bounded(counted(values))[0])

    def _of_counts(self, counts: dict[str, int]) -> Any:
        if self.compute == "most_frequent":
            return most_frequent(counts)
        return len(counts) if self.compute == "distinct_count" else sorted_values(counts)


def sorted_values(counts: Iterable[str]) -> list[Any]:
    """The values, in an order that does not go by when they came."""
    return [scalar_in(key) for key in sorted(counts)]


def _take_value(state: list[Any], event: Event, value: Any) -> bool:
    if not state:
        state[:] = [0, {}, ""]
    if event.position <= state[0]:
        return False
    state[0] = event.position
    key, counts, highest = element(value), state[1], state[2]
    if highest and key not in counts and rank(key) > highest:
        return False
    counts[key] = counts.get(key, 0) + 1
    if len(counts) > MOST_VALUES:
        state[1], state[2] = bounded(counts)
    return True


def _take_amount(state: list[Any], event: Event, value: Any) -> bool:
    if not state:
        state[:] = [0, 0, 0, 0]
    if event.position <= state[0]:
        return False
    state[0] = event.position
    state[1] += 1
    add(state, value)
    return True
