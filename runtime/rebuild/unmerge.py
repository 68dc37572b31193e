"""A request to unmerge at its place: decided, and the person's records folded again, live and in a rebuild alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from domain.fold import Fold
from domain.profiles import nodes
from domain.records import Entry
from domain.set_aside import NotAppliedError
from domain.unmerge import (
    NOT_ONE,
    RECORD_LIMIT,
    TOO_MANY,
    UNREADABLE,
    Place,
    UnmergeRequest,
    apart_from,
    part,
    person_of,
    refused_entry,
    subjects_of,
)
from runtime.rebuild.people import PersonFold
from runtime.rebuild.plans import Plans
from runtime.rebuild.taken_in import LogTime


class PastRow(NamedTuple):
    """A record of the past. `recorded_at` is in microseconds."""

    position: int
    recorded_at: int
    subject: str
    state: bytes


#: The records that were led by any of these subjects, in order, without those that were left out.
Past = Callable[[Collection[str]], Iterable[PastRow]]


def fold_apart(
    fold: Fold,
    place: Place,
    request: UnmergeRequest,
    plans: Plans,
    clock: LogTime,
    past: Past,
    *,
    live: bool = False,
) -> Entry:
    """Does what a request asks, in the fold's state; the record that says what was done, or why not. `live` forgets
    what no audience or trait of the last plan asks for."""
    person = person_of(fold.state, request, place.position)
    if person is None:
        holders = {fold.state.graph.get(node) for node in (request.node, request.other)}
        fold.changes.profiles.update(holder for holder in holders if holder is not None)
        return refused_entry(request, place.position, NOT_ONE)
    fold.fire_of(person, place.at)
    apart = apart_from(person, request, place.position)
    again = PersonFold(plans, clock, place.position, nodes(person), apart, fold.state.gone)
    try:
        for row in past(subjects_of(person, plans.feeds_at(place.position))):
            again.record(*row)
            if again.count > RECORD_LIMIT:
                return refused_entry(request, place.position, TOO_MANY.format(limit=RECORD_LIMIT))
        (again.finish if live else again.close)()
    except NotAppliedError as error:
        return refused_entry(request, place.position, f"position {error.position}: {error.reason}")
    if not again.profiles:
        return refused_entry(request, place.position, UNREADABLE)
    return part(fold, place, request, person, again.state)
