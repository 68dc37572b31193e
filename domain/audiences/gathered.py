"""What conditions remember of many people at once, of events that lie by person and, of each person, newest first.

It is the same as if each event were folded by itself (`occurrences.remember`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple, Protocol

from domain.audiences.occurrences import Kept, Occurrence


class Happened(NamedTuple):
    """Events by columns: whose each is, by number, when it was and where in the log it is, and what lies under each of
    the paths that are asked for."""

    who: Sequence[int]
    occurred_at: Sequence[int]
    position: Sequence[int]
    values: Sequence[Sequence[Any]]


class Remembering(Protocol):
    """A condition whose state is so many lists or, where it is one, that list."""

    @property
    def kept(self) -> tuple[Kept, ...]: ...


def gathered(leaf: Remembering, several: Sequence[Happened]) -> dict[int, Any]:
    """Number → state, of whoever did anything that is remembered; of the events that may stand in each of the state's
    lists."""
    if len(leaf.kept) == 1:
        return dict(_by_person(leaf.kept[0], several[0]))
    found: dict[int, list[list[Occurrence]]] = {}
    for place, (kept, happened) in enumerate(zip(leaf.kept, several, strict=True)):
        for who, occurrences in _by_person(kept, happened):
            if who not in found:
                found[who] = [[] for _ in leaf.kept]
            found[who][place] = occurrences
    return found


def _by_person(kept: Kept, happened: Happened) -> Iterator[tuple[int, list[Occurrence]]]:
    # Of whom the oldest are kept, everything is gone through the other way round.
    order = reversed if kept.oldest else iter
    columns = [order(happened.occurred_at), order(happened.position)]
    if kept.made is not None:
        values = zip(*map(order, happened.values), strict=True) if kept.paths else repeat(())
        columns.append(map(kept.made, values))
    occurrences = list(map(list, zip(*columns, strict=False)))
    start = 0
    for who, theirs in groupby(order(happened.who)):
        end = start + len(list(theirs))
        yield who, occurrences[start : min(end, start + kept.limit)]
        start = end
