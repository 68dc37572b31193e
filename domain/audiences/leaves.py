"""The two kinds of condition that remember events, each a mergeable fold with bounded state.

State is lists of the newest occurrences, newest first, each `[occurred_at, position, …]`. "The newest N of a
union" is commutative, associative and idempotent, so neither order of arrival nor duplicates matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from domain.audiences.definition import EventCount, Sequence
from domain.audiences.matching import properties_matcher, value_at

#: So many first events, and so many of each answer, a sequence remembers of one person.
SEQUENCE_LIMIT: Final = 32
#: So many positions an answer names as its reason.
REASONS: Final = 10
_KEY_LIMIT: Final = 100

Occurrence = list[Any]


class Event(NamedTuple):
    """One thing a person did. `occurred_at` is in microseconds, and not after the log's time."""

    name: str
    occurred_at: int
    position: int
    properties: Mapping[str, Any]


class Finding(NamedTuple):
    """Whether a condition holds, the next log time at which that may change by itself, and the positions
    of the records that make it hold."""

    holds: bool
    due: int | None
    because: tuple[int, ...]


def insert(newest: list[Occurrence], occurrence: Occurrence, limit: int) -> bool:
    """Puts an occurrence in its place among the newest; true when it is one of them and was not there."""
    key = (occurrence[0], occurrence[1])
    at = 0
    for at, other in enumerate(newest):  # noqa: B007
        held = (other[0], other[1])
        if held == key:
            return False
        if held < key:
            break
    else:
        at = len(newest)
    if at >= limit:
        return False
    newest.insert(at, occurrence)
    del newest[limit:]
    return True


def union(a: list[Occurrence], b: list[Occurrence], limit: int) -> list[Occurrence]:
    """The newest of both."""
    every = {(each[0], each[1]): each for each in (*a, *b)}
    return [every[key] for key in sorted(every, reverse=True)[:limit]]


def _id(kind: str, meaning: Any) -> str:
    canonical = json.dumps([kind, meaning], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class CountLeaf:
    """How often an event happened. Keeps as many of the newest as it takes to tell."""

    def __init__(self, condition: EventCount) -> None:
        meaning = condition.model_dump(mode="json", by_alias=True, exclude_unset=True)
        self.id = _id("count", meaning)
        self.names = (condition.event,)
        self._matches = properties_matcher(condition.where)
        self._within = condition.within
        self._least, self._most = condition.bounds
        self._limit = max(self._least, 0 if self._most is None else self._most + 1, 1)

    def empty(self) -> list[Occurrence]:
        return []

    def fold(self, state: list[Occurrence], event: Event) -> bool:
        if self._matches is not None and not self._matches(event.properties):
            return False
        return insert(state, [event.occurred_at, event.position], self._limit)

    def merge(self, a: list[Occurrence], b: list[Occurrence]) -> list[Occurrence]:
        return union(a, b, self._limit)

    def find(self, state: list[Occurrence] | None, now: int) -> Finding:
        """An event is within the last d while `occurred_at > now − d`."""
        kept = state or []
        if self._within is None:
            count, due = len(kept), None
        else:
            since = now - self._within
            count = sum(1 for each in kept if each[0] > since)
            due = self._next(kept, count)
        holds = count >= self._least and (self._most is None or count <= self._most)
        because = tuple(each[1] for each in kept[: min(count, REASONS)]) if holds else ()
        return Finding(holds, due, because)

    def _next(self, kept: list[Occurrence], count: int) -> int | None:
        """When so many have left the window that the answer changes."""
        assert self._within is not None
        edges = [n - 1 for n in (self._least, None if self._most is None else self._most + 1) if n]
        leaving = [kept[edge][0] + self._within for edge in edges if edge < count]
        return min(leaving) if leaving else None


class SequenceLeaf:
    """An event that none of the answers followed in time. State: the first events, then each answer's."""

    def __init__(self, condition: Sequence) -> None:
        meaning = condition.model_dump(mode="json", by_alias=True, exclude_unset=True)
        self.id = _id("sequence", meaning)
        self.names = tuple(dict.fromkeys((condition.event, *(a.event for a in condition.then_none))))
        self._first = condition.event
        self._matches = properties_matcher(condition.where)
        self._within = condition.within
        self._answers = [(a.event, a.same, properties_matcher(a.where)) for a in condition.then_none]

    def empty(self) -> list[list[Occurrence]]:
        return [[] for _ in range(len(self._answers) + 1)]

    def fold(self, state: list[list[Occurrence]], event: Event) -> bool:
        changed = False
        properties = event.properties
        if event.name == self._first and (self._matches is None or self._matches(properties)):
            keys = [_key(properties, same) for _, same, _ in self._answers]
            changed = insert(state[0], [event.occurred_at, event.position, keys], SEQUENCE_LIMIT)
        for index, (name, same, matches) in enumerate(self._answers, 1):
            if event.name == name and (matches is None or matches(properties)):
                occurrence = [event.occurred_at, event.position, _key(properties, same)]
                changed = insert(state[index], occurrence, SEQUENCE_LIMIT) or changed
        return changed

    def merge(self, a: list[list[Occurrence]], b: list[list[Occurrence]]) -> list[list[Occurrence]]:
        return [union(of_a, of_b, SEQUENCE_LIMIT) for of_a, of_b in zip(a, b, strict=True)]

    def find(self, state: list[list[Occurrence]] | None, now: int) -> Finding:
        """Holds from the first event's time + `within` on; both ends of the wait belong to it."""
        if not state:
            return Finding(False, None, ())
        due: int | None = None
        because = []
        for first in state[0]:
            if self._answered(first, state):
                continue
            end = first[0] + self._within
            if end <= now:
                because.append(first[1])
            elif due is None or end < due:
                due = end
        return Finding(True, None, tuple(because[:REASONS])) if because else Finding(False, due, ())

    def _answered(self, first: Occurrence, state: list[list[Occurrence]]) -> bool:
        begin, end = first[0], first[0] + self._within
        for index, (name, same, _) in enumerate(self._answers, 1):
            key = first[2][index - 1]
            for answer in state[index]:
                if not begin <= answer[0] <= end or (name == self._first and answer[1] == first[1]):
                    continue
                if same is None or (key is not None and answer[2] == key):
                    return True
        return False


Leaf = CountLeaf | SequenceLeaf


def _key(properties: Mapping[str, Any], path: str | None) -> Any:
    """What `same` compares: a plain value as it is, anything longer by its digest."""
    if path is None:
        return None
    value = value_at(properties, path)
    if value is None or isinstance(value, (bool, int, float)):
        return None if value is None else [type(value).__name__ == "bool", value]
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= _KEY_LIMIT else "sha256:" + hashlib.sha256(text.encode()).hexdigest()
