"""What becomes of people as a workspace takes effect: they are looked at in order of their ids, so many at a time.

Nothing is written here, so that it can be done for the next ones while the former are written (`runtime/ahead.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import Connection

from adapters.projections.people import states_from
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
    """What becomes of the people between two ids, of which only the upper bits are told: `after` the one, up to the
    other. `changed` has for each profile to write when something falls due, and its encoded state."""

    after: int
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

    def at(self, connection: Connection, after: int) -> Looked | None:
        """What becomes of the next people, `None` where there are none. Raises `LakeLostError`."""
        least = (after + 1) << _SHIFT
        before = states_from(connection, UUID(int=least), BATCH) if least >> 128 == 0 else {}
        if not before:
            return None
        profiles = {id: decode_profile(encoded) for id, encoded in before.items()}
        if self._backfill and not self._backfill.fold(connection, self._leaves, self._reach, profiles):
            raise LakeLostError
        fold = Fold(self._plan, State({}, profiles), lambda _: self._settling.position)
        for profile in profiles.values():
            fold.settle(profile, self._settling)
        outcome = fold.outcome()
        states = {id: encode_profile(profile) for id, profile in profiles.items()}
        changed = {id: (profiles[id].due, states[id]) for id in before if states[id] != before[id]}
        last = UUID(max(before)).int >> _SHIFT
        return Looked(after, last, changed, outcome.memberships, outcome.entries)


def leaves_in_bulk(plan: Plan, changed: Iterable[tuple[str, str]]) -> list[OwnLeaf]:
    """The conditions whose history can be had in bulk: none where a trait's is asked for too, which is read from the
    log, in order."""
    several = list(changed)
    leaves = plan.audiences.asked_by(name for kind, name in several if kind == "audience")
    found: list[OwnLeaf] = [leaf for leaf in leaves if not isinstance(leaf, TraitLeaf)]
    return [] if len(found) < len(leaves) or any(kind == "trait" for kind, _ in several) else found
