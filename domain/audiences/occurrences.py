"""What the conditions about events remember: some of a person's occurrences, as a mergeable fold.

State is lists of the newest (or oldest) occurrences, each `[occurred_at, position, …]`. "The newest N of a
union" is commutative, associative and idempotent, so neither order of arrival nor duplicates matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from pydantic import BaseModel

#: So many positions an answer names as its reason.
REASONS: Final = 10

Occurrence = list[Any]


class Event(NamedTuple):
    """One thing a person did. `occurred_at` is in microseconds, and not after the log's time."""

    name: str
    occurred_at: int
    position: int
    properties: Mapping[str, Any]


class Finding(NamedTuple):
    """Whether a condition holds, or a person belongs; the earliest log time (µs) at which that, or a part of it, may
    change with no further event; and the log positions of some of the records that make it so."""

    holds: bool
    due: int | None
    because: tuple[int, ...]


#: What comes of nothing that happened.
NOT_FOUND: Final = Finding(False, None, ())


class Kept(NamedTuple):
    """One of the lists that a state is of: the newest `limit` occurrences, or the oldest. Beside time and position
    stands what is `made` of the values under these `paths`; nothing where it is `None`."""

    limit: int
    oldest: bool = False
    paths: tuple[str, ...] = ()
    made: Callable[[Sequence[Any]], Any] | None = None


class Memory(Protocol):
    """What remembers events for a condition. `fold` takes one in, in place; whether what is found, or when that falls
    due, may be different for it: nearly all events change neither."""

    id: str

    def empty(self) -> list[Any]: ...
    def fold(self, state: Any, event: Event) -> bool: ...


def remember(conditions: dict[str, Any], memory: Memory, event: Event) -> bool:
    """Folds an event into what a person's state holds of a condition, which is nothing before something counts."""
    state = conditions.get(memory.id)
    if state is not None:
        return memory.fold(state, event)
    state = memory.empty()
    changed = memory.fold(state, event)
    if any(state):
        conditions[memory.id] = state
    return changed


def insert(kept: list[Occurrence], occurrence: Occurrence, limit: int, oldest: bool = False) -> bool:
    """Puts an occurrence in its place among the newest, newest first, or among the oldest, oldest first;
    true when it is one of them and was not there."""
    at = _place(kept, occurrence, oldest)
    if at is None or at >= limit:
        return False
    kept.insert(at, occurrence)
    del kept[limit:]
    return True


def _place(kept: list[Occurrence], occurrence: Occurrence, oldest: bool) -> int | None:
    """Where an occurrence belongs, `None` where it is there already."""
    # Nearly every event is newer than all that are kept.
    if not kept or occurrence[0] > kept[-1 if oldest else 0][0]:
        return len(kept) if oldest else 0
    key = occurrence[:2]
    for at, other in enumerate(kept):
        held = other[:2]
        if held == key:
            return None
        if (held > key) if oldest else (held < key):
            return at
    return len(kept)


def union(a: list[Occurrence], b: list[Occurrence], limit: int, oldest: bool = False) -> list[Occurrence]:
    """The newest of both, or the oldest."""
    every = {(each[0], each[1]): each for each in (*a, *b)}
    return [every[key] for key in sorted(every, reverse=not oldest)[:limit]]


def meaning_id(kind: str, condition: BaseModel, beside: frozenset[str] = frozenset()) -> str:
    """The id of a condition's meaning: equal conditions of several audiences share it, and their state. What stands in
    the fields `beside` means nothing."""
    meaning = condition.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=set(beside))
    canonical = json.dumps([kind, meaning], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
