"""The second pass of a rebuild: one shard of the log folded in memory, by the same step as live."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from domain.fold import Fold
from domain.outbound import Outbound, Outcome
from domain.records import Entry, record_of
from domain.state import Closed, Inbound, State
from domain.step import apply
from domain.unmerge import Place, decode_request
from runtime.rebuild.people import PeopleFold
from runtime.rebuild.plans import Plans
from runtime.rebuild.scan import COMPARED, RECORDS, SUBJECT_BYTES, Kind, decode_followed
from runtime.rebuild.taken_in import LogTime
from runtime.rebuild.unmerge import PastRow, fold_apart

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


def _subject_in(state: bytes) -> str | None:
    return state[:SUBJECT_BYTES].decode().strip() or None


#: Position, log time, kind and state of a row, as a shard takes it in.
TakenRow = tuple[int, int, int, bytes]


class ShardFold(PeopleFold):
    """Takes in the rows of one shard, in order, and has its state at the end. `past` gives them from the beginning, for
    who is unmerged."""

    def __init__(
        self,
        plans: Plans,
        clock: LogTime,
        goal: int,
        gone: Mapping[str, int] = {},
        apart: Collection[int] = frozenset(),
        past: Callable[[], Iterable[TakenRow]] = tuple,
        *,
        comparing: bool = True,
    ) -> None:
        super().__init__(plans, clock, goal, State({}, {}, gone))
        self._apart = apart
        self._past = past
        self.outbound: dict[str, OutboundState] = {}
        #: Messages that may be to go out again.
        self._messages: dict[str, Outbound] = {}
        self.comparing = Comparing()
        self._compared = comparing
        #: The nodes of records that say whose they are, by their states; none where `apply` has to look.
        self._met: dict[bytes, tuple[str, ...]] = {}
        self._undrained = 0

    def take(self, position: int, recorded_at: int, kind: int, state: bytes) -> None:
        """Takes one row in. Raises `NotAppliedError`."""
        if kind in RECORDS:
            if position in self._apart or (
                kind == Kind.PASSING and self._passed_by(position, recorded_at, state)
            ):
                return
            self.record(position, recorded_at, _subject_in(state), state[SUBJECT_BYTES:])
            self._count()
        elif kind == Kind.MESSAGE:
            message = _requested(state)
            self._messages[message.id] = message
        elif kind == Kind.CLOSED:
            outcome = _outcome(state)
            known = self._messages.pop(outcome.id, None)
            closed = Closed(outcome, known if outcome.again_at else None)
            apply(self._fold_at(position), Inbound(position, recorded_at, None, closed=closed))
            self._count()
        elif kind == Kind.TOLD:
            told = _requested(state)
            apply(self._fold_at(position), Inbound(position, recorded_at, None, told=told))
            self._count()
        elif kind == Kind.FOLLOWED:
            followed = decode_followed(state)
            id, topic, subject = followed.stream_id, followed.topic, followed.subject
            self.comparing.see(Lone(id, True, topic, subject, position, digest_of(followed.state)))
        elif kind == Kind.UNMERGE:
            place, request = Place(position, recorded_at), decode_request(state)
            past = lambda subjects: self._led_by(subjects, position)  # noqa: E731
            fold_apart(self._fold_at(position), place, request, self._plans, self._clock, past)
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

    def _passed_by(self, position: int, recorded_at: int, state: bytes) -> bool:
        """Takes in a record that says nothing but whose it is, where all that it names are one person's already."""
        fold = self._fold_at(position)
        found = self._met.get(state)
        if found is None:
            found = self._met[state] = self._nodes_of(fold, state)
        return fold.pass_by(found, recorded_at, position)

    def _nodes_of(self, fold: Fold, state: bytes) -> tuple[str, ...]:
        rules = fold.plan.rules
        record = rules.understood(record_of(state[SUBJECT_BYTES:]))
        return rules.nodes(record.feed, record.identifiers, _subject_in(state))

    def _pass_definitions(self, position: int) -> None:
        super()._pass_definitions(position)
        # By other rules other values name nobody.
        self._met.clear()

    def _count(self) -> None:
        self._undrained += 1
        if self._undrained >= _DRAIN:
            self._drain()

    def _led_by(self, subjects: Collection[str], before: int) -> Iterable[PastRow]:
        wanted = {subject.encode() for subject in subjects}
        for position, recorded_at, kind, state in self._past():
            if position >= before:
                return
            if kind in RECORDS and state[:SUBJECT_BYTES] in wanted and position not in self._apart:
                subject = state[:SUBJECT_BYTES].decode()
                yield PastRow(position, recorded_at, subject, state[SUBJECT_BYTES:])

    def _drain(self) -> None:
        self._undrained = 0
        super()._drain()

    def _followed(self, fold: Fold) -> None:
        if self._compared:
            self.comparing.derived(entry for _, entry in fold.changes.derived)
