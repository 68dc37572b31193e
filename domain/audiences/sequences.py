"""Sequences: an event that one of some answers followed in time, or none. A mergeable fold, bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Values
from functools import partial
from typing import Any, Final

from domain.audiences.events import Sequence
from domain.audiences.matching import as_number, properties_matcher, value_at
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

#: So many first events, and so many of each answer, a sequence remembers of one person: the newest.
SEQUENCE_LIMIT: Final = 32
_KEY_LIMIT: Final = 100


_Role = tuple[int, Callable[[Mapping[str, Any]], Any], Callable[[Mapping[str, Any]], bool] | None]


class SequenceLeaf:
    """State: the first events, then each answer's."""

    def __init__(self, condition: Sequence) -> None:
        self.condition = condition
        self.id = meaning_id("sequence", condition)
        self.names = tuple(dict.fromkeys((condition.event, *(a.event for a in condition.answers))))
        answers = condition.answers
        self.kept = (_kept_first([a.same for a in answers]), *(_kept_answer(a.same) for a in answers))
        self._first = condition.event
        self._within = condition.within
        self._none = condition.then is None
        self._answers = [(a.event, a.same, condition.wait_of(a)) for a in answers]
        #: Of an event's name: in which lists it may stand, what is compared of it there, and what is asked of it.
        self._roles: dict[str, list[_Role]] = {name: [] for name in self.names}
        keys = partial(_keys, [a.same for a in answers])
        self._roles[condition.event].append((0, keys, properties_matcher(condition.where)))
        for index, a in enumerate(answers, 1):
            self._roles[a.event].append((index, partial(_key, a.same), properties_matcher(a.where)))

    def empty(self) -> list[list[Occurrence]]:
        return [[], *([] for _ in self._answers)]

    def fold(self, state: list[list[Occurrence]], event: Event) -> bool:
        """An answer to what has not happened changes nothing yet."""
        changed = False
        for index, key_of, matches in self._roles[event.name]:
            if matches is None or matches(event.properties):
                occurrence = [event.occurred_at, event.position, key_of(event.properties)]
                changed = insert(state[index], occurrence, SEQUENCE_LIMIT) or changed
        return changed and bool(state[0])

    def merge(self, a: list[list[Occurrence]], b: list[list[Occurrence]]) -> list[list[Occurrence]]:
        return [union(of_a, of_b, SEQUENCE_LIMIT) for of_a, of_b in zip(a, b, strict=True)]

    def find(self, state: list[list[Occurrence]] | None, now: int) -> Finding:
        """An answer counts from the first event's time to `within` later, both ends with it. `then` holds
        from the answer on; `then_none` from the end of the wait on, while there is no answer."""
        if not state:
            return NOT_FOUND
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
        for index, (name, same, wait) in enumerate(self._answers, 1):
            key = first[2][index - 1]
            if same is not None and key is None:
                continue
            for at, position, theirs in state[index]:
                # Nearly all answers are to others.
                if same is not None and theirs != key:
                    continue
                if at < first[0] or (wait is not None and at > first[0] + wait):
                    continue
                if name == self._first and position == first[1]:
                    continue
                return int(position)
        return None


def _kept_first(compared: list[str | None]) -> Kept:
    paths = tuple(path for path in compared if path is not None)

    def keys(values: Values[Any]) -> list[Any]:
        told = iter(values)
        return [None if path is None else _key_of(next(told)) for path in compared]

    return Kept(SEQUENCE_LIMIT, False, paths, keys)


def _kept_answer(compared: str | None) -> Kept:
    if compared is None:
        return Kept(SEQUENCE_LIMIT, False, (), lambda values: None)
    return Kept(SEQUENCE_LIMIT, False, (compared,), lambda values: _key_of(values[0]))


def _keys(paths: list[str | None], properties: Mapping[str, Any]) -> list[Any]:
    return [_key(path, properties) for path in paths]


def _key(path: str | None, properties: Mapping[str, Any]) -> Any:
    return None if path is None else _key_of(value_at(properties, path))


def _key_of(value: Any) -> Any:
    """What `same` compares: text, a number, true or false; long text by its digest. Nothing else is equal."""
    if isinstance(value, str):
        return value if len(value) <= _KEY_LIMIT else "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    if isinstance(value, bool):
        return [True, value]
    return [False, as_number(value)] if isinstance(value, (int, float)) else None
