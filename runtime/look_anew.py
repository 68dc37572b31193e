"""What becomes of people as a workspace takes effect: they are looked at in order of their ids, so many at a time, in
parts that do not go by one another.

Nothing is written here, so that it can be done for the next ones while the former are written (`runtime/ahead.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection

from adapters.projections.people import seal_states, states_between
from domain.audiences.evaluation import OwnLeaf
from domain.fold import Fold
from domain.profiles import Profile, decode_profile, encode_profile
from domain.records import Entry
from domain.settling import Settling, settling_of
from domain.state import MembershipChange, Plan, State
from domain.traits.leaf import TraitLeaf

#: People in one transaction.
BATCH: Final = 2_000
#: An id without those of its 128 bits that a checkpoint has no room for.
_SHIFT: Final = 65


class Part(NamedTuple):
    """People by the upper bits of their ids, from the first to the last."""

    first: int
    last: int

    @property
    def between(self) -> tuple[UUID, UUID]:
        """The least and the greatest id."""
        return UUID(int=self.first << _SHIFT), UUID(int=((self.last + 1) << _SHIFT) - 1)


#: As many as processors are wanted for: all of the ids, which are hashes, in halves.
PARTS: Final = (Part(0, (1 << 62) - 1), Part(1 << 62, (1 << 63) - 1))


class Backfill(Protocol):
    """Where what happened can be had in bulk: `runtime/backfill.py`."""

    def reach(self) -> int: ...
    def fold(
        self,
        connection: Connection,
        leaves: Sequence[OwnLeaf],
        upto: int,
        profiles: Mapping[str, Profile],
    ) -> bool: ...
    def close(self) -> None: ...


class LakeLostError(Exception):
    """The lake that was to tell what happened cannot be read."""


class Change(NamedTuple):
    """A workspace that takes effect at a row at `position`, `at` that log time (microseconds): the kinds and names of
    the definitions that have changed, and up to which position the lake tells what happened."""

    position: int
    at: int
    changed: tuple[tuple[str, str], ...]
    reach: int


class Looked(NamedTuple):
    """What becomes of the next people of a part, up to those with `last` as the upper bits of their ids. `changed` has
    for each profile to write when something falls due, and its sealed state."""

    part: Part
    last: int
    changed: Mapping[str, tuple[int | None, bytes]]
    memberships: Sequence[MembershipChange]
    entries: Sequence[Entry]


class Look:
    """Looks at people by what has changed. Closes nothing that it is given."""

    def __init__(self, plan: Plan, change: Change, backfill: Backfill | None) -> None:
        self._plan = plan
        self._settling: Settling = settling_of(plan, change.position, change.at, change.changed)
        self._leaves = leaves_in_bulk(plan, change.changed)
        self._backfill = backfill if self._leaves and change.reach else None
        self._reach = change.reach

    def at(self, connection: Connection, left: Mapping[Part, int]) -> Looked:
        """What becomes of the next people of the first part that is left; of each those up to some upper bits have been
        looked at. Raises `LakeLostError`."""
        part, after = next(iter(left.items()))
        before = states_between(connection, *part._replace(first=after + 1).between, BATCH)
        if not before:
            return Looked(part, part.last, {}, (), ())
        profiles = {id: decode_profile(encoded) for id, encoded in before.items()}
        if self._backfill and not self._backfill.fold(connection, self._leaves, self._reach, profiles):
            raise LakeLostError
        fold = Fold(self._plan, State({}, profiles), lambda _: self._settling.position)
        for profile in profiles.values():
            fold.settle(profile, self._settling)
        outcome = fold.outcome()
        states = {id: encode_profile(profile) for id, profile in profiles.items()}
        # Sealed here, where the keys are at hand already.
        sealed = seal_states(connection, {id: state for id, state in states.items() if state != before[id]})
        changed = {id: (profiles[id].due, state) for id, state in sealed.items()}
        last = UUID(max(before)).int >> _SHIFT
        return Looked(part, last, changed, outcome.memberships, outcome.entries)


def leaves_in_bulk(plan: Plan, changed: Iterable[tuple[str, str]]) -> list[OwnLeaf]:
    """The conditions whose history can be had in bulk: none where a trait's is asked for too, which is read from the
    log, in order."""
    several = list(changed)
    leaves = plan.audiences.asked_by(name for kind, name in several if kind == "audience")
    found: list[OwnLeaf] = [leaf for leaf in leaves if not isinstance(leaf, TraitLeaf)]
    return [] if len(found) < len(leaves) or any(kind == "trait" for kind, _ in several) else found
