"""What the conditions about events remember: some of a person's occurrences, as a mergeable fold.

State is lists of the newest (or oldest) occurrences, each `[occurred_at, position, …]`. "The newest N of a
union" is commutative, associative and idempotent, so neither order of arrival nor duplicates matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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
    """Whether a condition holds, the next log time at which that may change by itself, and the positions
    of the records that make it hold."""

    holds: bool
    due: int | None
    because: tuple[int, ...]


def insert(kept: list[Occurrence], occurrence: Occurrence, limit: int, oldest: bool = False) -> bool:
    """Puts an occurrence in its place among the newest, newest first, or among the oldest, oldest first;
    true when it is one of them and was not there."""
    key = (occurrence[0], occurrence[1])
    at = 0
    for at, other in enumerate(kept):  # noqa: B007
        held = (other[0], other[1])
        if held == key:
            return False
        if (held > key) if oldest else (held < key):
            break
    else:
        at = len(kept)
    if at >= limit:
        return False
    kept.insert(at, occurrence)
    del kept[limit:]
    return True


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
