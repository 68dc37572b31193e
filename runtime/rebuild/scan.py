"""The first pass of a rebuild: what a stretch of the log holds, and who of it belongs together.

Two records can only have to do with one another if a chain of records leads from an identifier of the one to
an identifier of the other. So the log falls apart into components, which are folded by themselves. What they
share is the log's time and the definitions; both are kept apart from the rows.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from adapters.log.read import DERIVED
from adapters.projections.outbound import OUTCOME_TOPICS, deletions
from domain.configuration import TOPIC_PREFIX
from domain.erasure import ERASED
from domain.identity_rules import DEFAULT_RULES
from domain.outbound import Outbound
from domain.records import RECORD_TYPES, Identifier, Row, node_id

#: What begins the topics of inbound records.
INBOUND: Final = tuple(f"{kind}." for kind in sorted(RECORD_TYPES))
_FOLLOWED: Final = tuple(f"{kind}." for kind in DERIVED)
#: Before a record's state stands its row's subject, as text.
SUBJECT_BYTES: Final = 36
#: Kinds of derived rows that are compared with those derived again: each is derived exactly once.
COMPARED: Final = ("audience.", "profile.")


class Kind(IntEnum):
    """What a row that a shard takes in is."""

    RECORD = 0
    REQUESTED = 1
    OUTCOME = 2
    FOLLOWED = 3


class Followed(NamedTuple):
    """A derived row as the log has it."""

    stream_id: str
    topic: str
    subject: str
    state: bytes


class _Named(msgspec.Struct):
    """As much of a record as says whose it is."""

    feed: str
    identifiers: tuple[Identifier, ...]


_named = msgspec.json.Decoder(_Named).decode
encode_followed = msgspec.msgpack.Encoder().encode
decode_followed = msgspec.msgpack.Decoder(Followed).decode


def key_of(id: str) -> int:
    """The first 48 bits of a UUID's text. Two that share them only come into the same shard."""
    return int(id[:8] + id[9:13], 16)


class Scan:
    """A stretch of the log, row by row. The lists run in parallel, one entry a row that some shard needs:
    `keys` says by which node its component is found."""

    def __init__(self, people: bool = True) -> None:
        self._people = people
        self.positions: list[int] = []
        self.times: list[int] = []
        self.kinds: list[int] = []
        self.keys: list[int] = []
        self.states: list[bytes] = []
        #: Log times, each with the first position that has it.
        self.clock: list[tuple[int, int]] = []
        self.nodes: set[int] = set()
        self.edges: set[tuple[int, int]] = set()
        self.definitions: list[Row] = []
        self._known: dict[tuple[str, Identifier], tuple[int, ...]] = {}

    def add(self, row: Row) -> None:
        topic = row.topic
        if topic.startswith(_FOLLOWED):
            if self._people and row.state and row.subject is not None and topic.startswith(COMPARED):
                followed = Followed(row.stream_id, topic, row.subject, row.state)
                self._keep(row, Kind.FOLLOWED, key_of(row.subject), encode_followed(followed))
            return
        if topic.startswith(TOPIC_PREFIX):
            self.definitions.append(row)
            return
        if not self.clock or row.recorded_at > self.clock[-1][0]:
            self.clock.append((row.recorded_at, row.position))
        if row.erased:
            return
        if topic.startswith(INBOUND):
            if self._people:
                self._record(row)
        elif topic == ERASED:
            # Requests to delete stand in the erasure's own row, as theirs can soon be read by nobody.
            for position, asked in deletions(row):
                told = Outbound(
                    id=asked.id,
                    connection=asked.connection,
                    batch=asked.batch,
                    profile="",
                    audience="",
                    change="delete",
                    fields={},
                    cause=position,
                )
                at = row._replace(position=position)
                self._keep(at, Kind.REQUESTED, key_of(asked.id), msgspec.json.encode(told))
        elif topic == "outbound.requested" and row.subject != row.stream_id:
            self._keep(row, Kind.REQUESTED, key_of(row.stream_id), row.state)
        elif topic in OUTCOME_TOPICS:
            self._keep(row, Kind.OUTCOME, key_of(row.stream_id), row.state)

    def _record(self, row: Row) -> None:
        named = _named(row.state)
        keys: list[int] = []
        known = self._known
        for identifier in named.identifiers:
            found = known.get((named.feed, identifier))
            if found is None:
                found = known[named.feed, identifier] = _keys(named.feed, identifier)
            keys += found
        if not keys:
            return
        first = keys[0]
        self.nodes.update(keys)
        for other in keys[1:]:
            if other != first:
                self.edges.add((first, other))
        self._keep(row, Kind.RECORD, first, (row.subject or "").encode().ljust(SUBJECT_BYTES) + row.state)

    def _keep(self, row: Row, kind: Kind, key: int, state: bytes) -> None:
        self.positions.append(row.position)
        self.times.append(row.recorded_at)
        self.kinds.append(kind)
        self.keys.append(key)
        self.states.append(state)


def _keys(feed: str, identifier: Identifier) -> tuple[int, ...]:
    """The nodes that an identifier may be, whatever the workspace declares: a vendor's id may be of a declared
    kind too. None for a value that names nobody under any rules."""
    if DEFAULT_RULES.blocked(identifier):
        return ()
    meant = [identifier]
    if identifier.kind.startswith(f"{feed}."):
        meant.append(Identifier(identifier.kind.removeprefix(f"{feed}."), identifier.value))
    return tuple(key_of(node_id(each)) for each in meant)
