"""The second pass of a rebuild: one shard of the log folded in memory, by the same step as live."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from domain.audiences.evaluation import Conditions
from domain.fold import Fold
from domain.identity_rules import Rules
from domain.outbound import Outbound, Outcome
from domain.profiles import Profile
from domain.records import Entry, record_of
from domain.state import Inbound, State
from domain.step import apply
from runtime.rebuild.clock import LogTime
from runtime.rebuild.plans import Plans
from runtime.rebuild.scan import COMPARED, SUBJECT_BYTES, Kind, decode_followed

#: Derived records are taken out of the fold after so many rows.
_DRAIN: Final = 2_000

_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode


class _Caused(msgspec.Struct):
    cause: int


_cause = msgspec.json.Decoder(_Caused).decode


class OutboundState(NamedTuple):
    """One row of the table `outbound`, but for its id."""

    connection: str
    batch: str
    position: int
    status: str
    attempts: int
    profile: str | None


class Lone(NamedTuple):
    """A derived record that only one side has: the log (`logged`), or the fold. `position` is the row's own or,
    of one that is not in the log, that of its cause."""

    id: str
    logged: bool
    topic: str
    profile: str
    position: int
    digest: bytes


class Comparing:
    """Derived records in the log against those derived again: what both have goes, the rest stays."""

    def __init__(self) -> None:
        self._open: dict[str, Lone] = {}

    def see(self, found: Lone) -> None:
        other = self._open.get(found.id)
        if other is not None and other.logged != found.logged and other.digest == found.digest:
            del self._open[found.id]
        else:
            self._open[found.id + ("" if other is None else "'")] = found

    def derived(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.topic.startswith(COMPARED):
                self.see(lone_of(entry))

    def lone(self) -> list[Lone]:
        return list(self._open.values())


def lone_of(entry: Entry) -> Lone:
    """A record as it was derived again."""
    assert entry.subject is not None
    position = _cause(entry.state).cause
    return Lone(entry.stream_id, False, entry.topic, entry.subject, position, digest_of(entry.state))


def digest_of(state: bytes) -> bytes:
    return hashlib.blake2b(state, digest_size=16).digest()


class ShardFold:
    """Takes in the rows of one shard, in order, and has its state at the end."""

    def __init__(
        self,
        plans: Plans,
        clock: LogTime,
        goal: int,
        gone: Mapping[str, int] = {},
        apart: Collection[int] = frozenset(),
    ) -> None:
        self._apart = apart
        self._plans = plans
        self._clock = clock
        self._goal = goal
        self.state = State({}, {}, gone)
        self.outbound: dict[str, OutboundState] = {}
        self.comparing = Comparing()
        self._fold: Fold | None = None
        self._rules: Rules | None = None
        self._position = 0
        self._fired = 0
        self._boundary = plans.next_after(0)
        self._undrained = 0

    def take(self, position: int, recorded_at: int, kind: int, state: bytes) -> None:
        """Takes one row in. Raises `NotAppliedError`."""
        if kind == Kind.RECORD:
            if position in self._apart:
                return
            if self._boundary is not None and self._boundary < position:
                self._pass_definitions(position)
            fold = self._fold or self._begin(position)
            assert self._rules is not None
            subject = state[:SUBJECT_BYTES].decode().strip() or None
            record = self._rules.understood(record_of(state[SUBJECT_BYTES:]))
            apply(fold, Inbound(position, recorded_at, record, subject))
            self._undrained += 1
            if self._undrained >= _DRAIN:
                self._drain()
        elif kind == Kind.FOLLOWED:
            followed = decode_followed(state)
            id, topic, subject = followed.stream_id, followed.topic, followed.subject
            self.comparing.see(Lone(id, True, topic, subject, position, digest_of(followed.state)))
        elif kind == Kind.REQUESTED:
            asked = _requested(state)
            self.outbound.setdefault(
                asked.id,
                OutboundState(asked.connection, asked.batch, position, "pending", 0, asked.profile or None),
            )
        else:
            outcome = _outcome(state)
            held = self.outbound.get(outcome.id)
            if held is not None and held.status == "pending":
                self.outbound[outcome.id] = held._replace(status=outcome.status, attempts=outcome.attempts)

    def finish(self) -> None:
        """Lets time pass up to the goal."""
        self._pass_definitions(self._goal + 1)
        self._fire(self._goal + 1)
        self._drain()
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

    @property
    def profiles(self) -> dict[str, Profile]:
        return self.state.profiles

    def _begin(self, position: int) -> Fold:
        plan = self._plans.at(position)
        self._rules = plan.rules
        self._fold = Fold(plan, self.state, self._clock.first_at)
        return self._fold

    def _pass_definitions(self, position: int) -> None:
        """Goes on to the plan of a position. As a workspace takes effect, what was due by then has happened, and
        everybody is looked at anew."""
        while self._boundary is not None and self._boundary < position:
            boundary = self._boundary
            self._fire(boundary + 1)
            self._drain()
            self._fold, self._position = None, boundary
            fold, settling = self._begin(boundary + 1), self._plans.settling(boundary)
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
        fold = self._fold
        self._undrained = 0
        if fold is not None:
            self.comparing.derived(entry for _, entry in fold.derived)
            self._fold = Fold(fold.plan, self.state, self._clock.first_at)
