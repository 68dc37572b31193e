"""The first pass of a rebuild: what a stretch of the log holds, and who of it belongs together.

Two records can only have to do with one another if a chain of records leads from an identifier of the one to
an identifier of the other. So the log falls apart into components, which are folded by themselves. What they
share is the log's time and the definitions; both are kept apart from the rows.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from adapters.log.read import DERIVED
from adapters.projections.outbound import OUTCOME_TOPICS, deletions
from domain.configuration import TOPIC_PREFIX
from domain.erasure import ERASED
from domain.identity_rules import DEFAULT_RULES
from domain.outbound import Outbound, Outcome
from domain.records import RECORD_TYPES, Identifier, Row, node_id
from domain.runs import RUN
from domain.set_aside import TOPIC_PREFIX as QUARANTINED
from domain.set_aside import decode_put_aside
from domain.settling import APPLIED
from domain.unmerge import REQUESTED as UNMERGE
from domain.unmerge import decode_request
from runtime.closing import OF_CHANNEL, told_again
from runtime.rebuild.passing import EVERYTHING, Heard, may_pass, who

#: What begins the topics of inbound records.
INBOUND: Final = tuple(f"{kind}." for kind in sorted(RECORD_TYPES))
_FOLLOWED: Final = tuple(f"{kind}." for kind in DERIVED)
#: Before a record's state stands its row's subject, as text.
SUBJECT_BYTES: Final = 36
#: Kinds of derived rows that are compared with those derived again: each is derived exactly once.
COMPARED: Final = ("audience.", "profile.")
#: So many ways to name somebody are remembered: of each about 500 bytes.
_REMEMBERED: Final = 65_536


class Kind(IntEnum):
    """What a row that a shard takes in is."""

    RECORD = 0
    REQUESTED = 1
    OUTCOME = 2
    FOLLOWED = 3
    UNMERGE = 4
    #: A message by a channel that may go out again, and what became of one: rows of the person's.
    MESSAGE = 5
    CLOSED = 6
    #: An event that a replay tells again: a row of the person's.
    TOLD = 7
    #: A record that says nothing but whose it is (`runtime.rebuild.passing`).
    PASSING = 8


#: Kinds of rows that are a record.
RECORDS: Final = (Kind.RECORD, Kind.PASSING)

#: Rows that are no shard's: only their time counts, or not even that, or they are kept by themselves.
_TIME: Final = 9
_ERASURE: Final = 10
_APART: Final = 11
_EFFECT: Final = 12
_TIMELESS: Final = 16
_FOLLOWS: Final = 17
_DEFINITION: Final = 18


class Followed(NamedTuple):
    """A derived row as the log has it."""

    stream_id: str
    topic: str
    subject: str
    state: bytes


class _Named(msgspec.Struct, gc=False):
    """As much of a record as says whose it is, and whether it says anything of them."""

    feed: str
    identifiers: msgspec.Raw
    traits_at: str = ""
    traits: msgspec.Raw = msgspec.Raw()
    consent: msgspec.Raw = msgspec.Raw()


class _Whose(NamedTuple):
    """The nodes that a record names, by the first of which its component is found; that they belong together; and the
    state of a record that says no more, with its row's subject before it."""

    keys: tuple[int, ...]
    edges: tuple[tuple[int, int], ...]
    state: bytes


_decode = msgspec.json.Decoder(_Named).decode
_identifiers = msgspec.json.Decoder(tuple[Identifier, ...]).decode
_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode


encode_followed = msgspec.msgpack.Encoder().encode
decode_followed = msgspec.msgpack.Decoder(Followed).decode


def key_of(id: str) -> int:
    """The first 48 bits of a UUID's text. Two that share them only come into the same shard."""
    return int(id[:8] + id[9:13], 16)


class Scan:
    """A stretch of the log, row by row. A row's key says by which node its component is found."""

    def __init__(self, people: bool = True, heard: Heard = EVERYTHING) -> None:
        self._people = people
        self._heard = heard
        #: Position, log time, kind, key and state of each row that some shard needs.
        self.rows: list[tuple[int, int, int, int, bytes]] = []
        self._sorts: dict[str, int] = {}
        #: Log times, each with the first position that has it.
        self.clock: list[tuple[int, int]] = []
        self._now = -1
        self.nodes: set[int] = set()
        self.edges: set[tuple[int, int]] = set()
        self.definitions: list[Row] = []
        #: Positions of records that were left out, as they could not be applied.
        self.apart: list[int] = []

    def add(self, row: Row) -> None:
        position, stream_id, _, topic, subject, recorded_at, state = row
        sort = self._sorts.get(topic)
        if sort is None:
            sort = self._sorts[topic] = _sort_of(topic, self._people, self._heard)
        if sort in (_DEFINITION, _EFFECT):
            self.definitions.append(row)
        if sort < _TIMELESS and recorded_at > self._now:
            self._now = recorded_at
            self.clock.append((recorded_at, position))
        # Of whoever was erased nothing is known.
        if not state or sort == _DEFINITION:
            return
        if sort in RECORDS:
            self._add_record(position, recorded_at, sort, subject, state)
        elif sort == _ERASURE:
            # Requests to delete stand in the erasure's own row, as theirs can soon be read by nobody.
            for at, asked in deletions(row):
                told = Outbound(
                    id=asked.id,
                    connection=asked.connection,
                    batch=asked.batch,
                    profile="",
                    audience="",
                    change="delete",
                    fields={},
                    cause=at,
                )
                held = msgspec.json.encode(told)
                self.rows.append((at, recorded_at, Kind.REQUESTED, key_of(asked.id), held))
        elif sort == Kind.UNMERGE:
            request = decode_request(state)
            ends = key_of(request.node), key_of(request.other)
            # They are, or were, one person's, also where an erasure has taken away what says so.
            self.nodes.update(ends)
            self.edges.add(ends)
            self.rows.append((position, recorded_at, sort, ends[0], state))
        elif sort == _APART:
            if (left_out := decode_put_aside(state).position) > 0:
                self.apart.append(left_out)
        elif sort in (Kind.REQUESTED, Kind.OUTCOME):
            if sort == Kind.OUTCOME or subject != stream_id:
                self.rows.append((position, recorded_at, sort, key_of(stream_id), state))
            if self._people and OF_CHANNEL in state:
                self._add_message(position, recorded_at, sort, state)
            if self._people and (again := told_again(row)) is not None:
                self.rows.append((position, recorded_at, Kind.TOLD, key_of(again.profile), state))
        elif sort == _FOLLOWS and subject is not None:
            state = encode_followed(Followed(stream_id, topic, subject, state))
            self.rows.append((position, recorded_at, Kind.FOLLOWED, key_of(subject), state))

    def _add_message(self, position: int, recorded_at: int, sort: int, state: bytes) -> None:
        """The row once more, as the person's whom the message reaches."""
        if sort == Kind.OUTCOME:
            key = key_of(_outcome(state).profile)
            self.rows.append((position, recorded_at, Kind.CLOSED, key, state))
        elif (record := _requested(state)).quiet is not None:
            self.rows.append((position, recorded_at, Kind.MESSAGE, key_of(record.profile), state))

    def _add_record(
        self, position: int, recorded_at: int, sort: int, subject: str | None, state: bytes
    ) -> None:
        try:
            named = _decode(state)
            keys, edges, whose = _whose(named.feed, bytes(named.identifiers), subject)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The pipeline has left it out.
            return
        if not keys:
            return
        self.nodes.update(keys)
        self.edges.update(edges)
        if sort == Kind.PASSING and not (named.traits_at or named.traits or named.consent):
            self.rows.append((position, recorded_at, Kind.PASSING, keys[0], whose))
        else:
            self.rows.append((position, recorded_at, Kind.RECORD, keys[0], whose[:SUBJECT_BYTES] + state))


def _sort_of(topic: str, people: bool, heard: Heard) -> int:
    """What kind of row a topic makes; from `_TIMELESS` on, rows that the log's time does not go by."""
    if topic.startswith(_FOLLOWED):
        return _FOLLOWS if people and topic.startswith(COMPARED) else _TIMELESS
    if topic.startswith(TOPIC_PREFIX):
        return _DEFINITION
    if topic.startswith(INBOUND):
        if not people:
            return _TIME
        return Kind.PASSING if may_pass(topic, heard) else Kind.RECORD
    if topic == "outbound.requested":
        return Kind.REQUESTED
    if topic == ERASED:
        return _ERASURE
    if topic in (APPLIED, RUN):
        return _EFFECT
    if topic == UNMERGE:
        return Kind.UNMERGE if people else _TIME
    if topic.startswith(QUARANTINED):
        return _APART
    return Kind.OUTCOME if topic in OUTCOME_TOPICS else _TIME


@lru_cache(maxsize=_REMEMBERED)
def _whose(feed: str, named: bytes, subject: str | None) -> _Whose:
    """Whose a record of a feed is that names these identifiers, and what follows from no more than that."""
    identifiers = _identifiers(named)
    keys = tuple(key for identifier in identifiers for key in _keys(feed, identifier))
    edges = tuple((keys[0], other) for other in keys if other != keys[0])
    return _Whose(keys, edges, (subject or "").encode().ljust(SUBJECT_BYTES) + who(feed, identifiers))


def _keys(feed: str, identifier: Identifier) -> tuple[int, ...]:
    """The nodes that an identifier may be, whatever the workspace declares: a vendor's id may be of a declared
    kind too. None for a value that names nobody under any rules."""
    if DEFAULT_RULES.blocked(identifier):
        return ()
    meant = [identifier]
    if identifier.kind.startswith(f"{feed}."):
        meant.append(Identifier(identifier.kind.removeprefix(f"{feed}."), identifier.value))
    return tuple(key_of(node_id(each)) for each in meant)
