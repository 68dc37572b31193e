"""Sequences: an event that one of some answers followed in time, or none. A mergeable fold, bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from domain.audiences.events import Sequence
from domain.audiences.matching import as_number, properties_matcher, value_at
from domain.audiences.occurrences import REASONS, Event, Finding, Occurrence, insert, meaning_id, union

#: So many first events, and so many of each answer, a sequence remembers of one person: the newest.
SEQUENCE_LIMIT: Final = 32
_KEY_LIMIT: Final = 100


class SequenceLeaf:
    """State: the first events, then each answer's."""

    def __init__(self, condition: Sequence) -> None:
        self.id = meaning_id("sequence", condition)
        self.names = tuple(dict.fromkeys((condition.event, *(a.event for a in condition.answers))))
        answers = condition.answers
        self.paths = frozenset(
            (
                *condition.where,
                *(path for a in answers for path in a.where),
                *(a.same for a in answers if a.same is not None),
            )
        )
        self._first = condition.event
        self._matches = properties_matcher(condition.where)
        self._within = condition.within
        self._none = condition.then is None
        self._answers = [
            (a.event, a.same, properties_matcher(a.where), condition.wait_of(a)) for a in condition.answers
        ]

    def empty(self) -> list[list[Occurrence]]:
        return [[] for _ in range(len(self._answers) + 1)]

    def fold(self, state: list[list[Occurrence]], event: Event) -> bool:
        changed = False
        properties = event.properties
        if event.name == self._first and (self._matches is None or self._matches(properties)):
            keys = [_key(properties, same) for _, same, _, _ in self._answers]
            changed = insert(state[0], [event.occurred_at, event.position, keys], SEQUENCE_LIMIT)
        for index, (name, same, matches, _) in enumerate(self._answers, 1):
            if event.name == name and (matches is None or matches(properties)):
                occurrence = [event.occurred_at, event.position, _key(properties, same)]
                changed = insert(state[index], occurrence, SEQUENCE_LIMIT) or changed
        return changed

    def merge(self, a: list[list[Occurrence]], b: list[list[Occurrence]]) -> list[list[Occurrence]]:
        return [union(of_a, of_b, SEQUENCE_LIMIT) for of_a, of_b in zip(a, b, strict=True)]

    def find(self, state: list[list[Occurrence]] | None, now: int) -> Finding:
        """An answer counts from the first event's time to `within` later, both ends with it. `then` holds
        from the answer on; `then_none` from the end of the wait on, while there is no answer."""
        if not state:
            return Finding(False, None, ())
        return self._unanswered(state, now) if self._none else self._followed(state)

    def _followed(self, state: list[list[Occurrence]]) -> Finding:
        because: list[int] = []
        for first in state[0]:
            answer = self._answer(first, state)
            if answer is not None:
                because += (first[1], answer)
        return Finding(bool(because), None, tuple(because[:REASONS]))

    def _unanswered(self, state: list[list[Occurrence]], now: int) -> Finding:
        due: int | None = None
        because = []
        for first in state[0]:
            if self._answer(first, state) is not None:
                continue
            end = first[0] + self._within
            if end <= now:
                because.append(first[1])
            elif due is None or end < due:
                due = end
        return Finding(True, None, tuple(because[:REASONS])) if because else Finding(False, due, ())

    def _answer(self, first: Occurrence, state: list[list[Occurrence]]) -> int | None:
        """The position of an answer to a first event."""
        for index, (name, same, _, wait) in enumerate(self._answers, 1):
            key = first[2][index - 1]
            for at, position, theirs in state[index]:
                if at < first[0] or (wait is not None and at > first[0] + wait):
                    continue
                if name == self._first and position == first[1]:
                    continue
                if same is None or (key is not None and theirs == key):
                    return int(position)
        return None


def _key(properties: Mapping[str, Any], path: str | None) -> Any:
    """What `same` compares: text, a number, true or false; long text by its digest. Nothing else is equal."""
    if path is None:
        return None
    value = value_at(properties, path)
    if isinstance(value, bool):
        return [True, value]
    if isinstance(value, (int, float)):
        return [False, as_number(value)]
    if not isinstance(value, str):
        return None
    return value if len(value) <= _KEY_LIMIT else "sha256:" + hashlib.sha256(value.encode()).hexdigest()
