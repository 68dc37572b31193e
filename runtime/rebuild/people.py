"""Records of the past folded in memory, by the same step as live and by what was in force at each of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from domain.audiences.evaluation import Conditions
from domain.fold import Fold
from domain.identity_rules import leader_of
from domain.profiles import Profile
from domain.records import node_id, record_of
from domain.state import Inbound, State
from domain.step import apply
from runtime.rebuild.plans import Plans
from runtime.rebuild.taken_in import LogTime

#: What has followed is dropped after so many records.
_DRAIN: Final = 2_000


class PeopleFold:
    """Takes records in, in order, and has the people's state at the end. `goal` is the position up to which time
    passes."""

    def __init__(self, plans: Plans, clock: LogTime, goal: int, state: State) -> None:
        self._plans = plans
        self._clock = clock
        self._goal = goal
        self.state = state
        self._fold: Fold | None = None
        self._position = 0
        self._fired = 0
        self._boundary = plans.next_after(0)

    @property
    def profiles(self) -> dict[str, Profile]:
        return self.state.profiles

    def record(self, position: int, recorded_at: int, subject: str | None, state: bytes) -> None:
        """Takes a record in. Raises `NotAppliedError`."""
        fold = self._fold_at(position)
        record = fold.plan.rules.understood(record_of(state))
        apply(fold, Inbound(position, recorded_at, record, subject))

    def close(self) -> None:
        """Lets time pass up to the goal."""
        self._pass_definitions(self._goal + 1)
        self._fire(self._goal + 1)
        self._drain()

    def finish(self) -> None:
        """As `close`, and forgets what no live audience or trait asks for."""
        self.close()
        for profile in self.profiles.values():
            profile.conditions = self._live_of(profile)

    def live(self, id: str) -> Profile | None:
        """A person as the live tables have them: without what is remembered for audiences to come."""
        profile = self.profiles.get(id)
        if profile is None:
            return None
        return msgspec.structs.replace(profile, conditions=self._live_of(profile))

    def _live_of(self, profile: Profile) -> Conditions:
        return {id: state for id, state in profile.conditions.items() if id in self._plans.live}

    def pass_time(self, position: int) -> Iterator[int]:
        """Lets time pass up to a position, one due time after the other: the position at which each is seen."""
        while self._boundary is not None and self._boundary < position:
            boundary = self._boundary
            yield from self._moments(boundary + 1)
            self._pass_definitions(boundary + 1)
            yield boundary
        yield from self._moments(position)

    def _moments(self, position: int) -> Iterator[int]:
        now = self._clock.before(position)
        while (
            due := min((p.due for p in self.profiles.values() if p.due is not None), default=now + 1)
        ) <= now:
            (self._fold or self._begin(self._position + 1)).fire(due)
            yield self._clock.first_at(due)

    def _fold_at(self, position: int) -> Fold:
        if self._boundary is not None and self._boundary < position:
            self._pass_definitions(position)
        return self._fold or self._begin(position)

    def _begin(self, position: int) -> Fold:
        self._fold = Fold(self._plans.at(position), self.state, self._clock.first_at)
        return self._fold

    def _pass_definitions(self, position: int) -> None:
        """Goes on to the plan of a position. As a workspace takes effect, or a connection has a run, what was due by
        then has happened, and everybody is looked at."""
        while self._boundary is not None and self._boundary < position:
            boundary = self._boundary
            self._fire(boundary + 1)
            self._drain()
            self._fold, self._position = None, boundary
            fold, run = self._begin(boundary + 1), self._plans.run(boundary)
            if run is not None:
                for profile in self.profiles.values():
                    fold.run(profile, run)
            else:
                settling = self._plans.settling(boundary)
                for profile in self.profiles.values():
                    fold.settle(profile, settling)
            self._drain()
            self._boundary = self._plans.next_after(boundary)

    def _fire(self, position: int) -> None:
        now = self._clock.before(position)
        if now <= self._fired or not self.state.profiles:
            return
        self._fired = now
        if any(p.due is not None and p.due <= now for p in self.state.profiles.values()):
            # A row that moves the time stands after the definitions that are passed, so their plan holds.
            (self._fold or self._begin(self._position + 1)).fire(now)

    def _drain(self) -> None:
        """Takes what has followed out of the fold, and begins another."""
        if self._fold is not None:
            self._followed(self._fold)
            self._fold = Fold(self._fold.plan, self.state, self._clock.first_at)

    def _followed(self, fold: Fold) -> None:
        """What has followed, for whoever wants it."""


class PersonFold(PeopleFold):
    """The records of one person alone, as if there were nobody else: what belongs to others is refused, as it was.

    `own` are the nodes of the person's identifiers, and `apart` which of them are kept apart from which.
    """

    def __init__(
        self,
        plans: Plans,
        clock: LogTime,
        goal: int,
        own: Collection[str],
        apart: Mapping[str, Mapping[str, int]],
        gone: Mapping[str, int],
    ) -> None:
        self._own = frozenset(own)
        self._gone = {node: gone[node] for node in self._own if node in gone}
        super().__init__(plans, clock, goal, State({}, {}, self._gone, apart))
        self.count = 0

    def record(self, position: int, recorded_at: int, subject: str | None, state: bytes) -> None:
        """Takes a record in where it is the person's. Raises `NotAppliedError`."""
        rules = self._plans.at(position).rules
        record = rules.understood(record_of(state))
        leader = leader_of(record, subject or "", rules)
        if leader is None or node_id(leader) not in self._own:
            return
        for identifier in record.identifiers:
            if (node := node_id(identifier)) not in self._own:
                self._gone[node] = self._goal + 1
        self.count += 1
        apply(self._fold_at(position), Inbound(position, recorded_at, record, subject))
        if self.count % _DRAIN == 0:
            self._drain()
