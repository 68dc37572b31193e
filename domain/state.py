"""What a step of the pipeline takes, works on and gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from domain import outbound
from domain.audiences.evaluation import CompiledAudiences
from domain.channels import Channel
from domain.erasure import EraseRequest, Erasure
from domain.forwarding import Forwardings
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.mirrors import Pair
from domain.profiles import Membership, Profile
from domain.records import Entry, Identifier, Record, node_id
from domain.routing import Destination


class Plan(NamedTuple):
    """What the workspace declares, ready for use: the audiences, each feed's priority, the
    destinations of each audience, the rules that identities are resolved by, who hears of events, the connections
    whose fields each feed brings back, the channels that connections share, and of each feed the connections that it
    brings engagement back of."""

    audiences: CompiledAudiences
    priorities: Mapping[str, int]
    destinations: Mapping[str, tuple[Destination, ...]]
    rules: Rules = DEFAULT_RULES
    forwardings: Forwardings = Forwardings()
    pairs: Mapping[str, tuple[Pair, ...]] = {}
    channels: Mapping[str, Channel] = {}
    answered: Mapping[str, tuple[str, ...]] = {}

    def destination(self, connection: str) -> Destination | None:
        """Where a connection goes, `None` for one that is not declared."""
        told = (destination for several in self.destinations.values() for destination in several)
        hear = (forwarding.destination for forwarding in self.forwardings.all)
        return next((one for one in chain(told, hear) if one.connection == connection), None)


class Closed(NamedTuple):
    """What became of a record that reaches a person by a channel. `record` is given where it is to go out again."""

    outcome: outbound.Outcome
    record: outbound.Outbound | None = None


class Inbound(NamedTuple):
    """One row of the log to apply. `record` is `None` for a row that only moves the log's time. `subject` is
    the row's, by which its leading identifier is known. `erase` asks for a person to be erased; `closed` is what
    the row says of a record that had gone out; `told` is an event that a replay tells again."""

    position: int
    recorded_at: int
    record: Record | None
    subject: str | None = None
    erase: EraseRequest | None = None
    closed: Closed | None = None
    told: outbound.Outbound | None = None


class State(NamedTuple):
    """What a step works on, and changes in place: `graph` maps node ids to profile ids for every identifier
    of the batch that is known; `profiles` holds those profiles, and every profile with a timer due. `gone` says
    below which position a node was somebody's whose records are erased, for a replay; `apart` says of nodes that are
    nobody's yet from which others they were unmerged."""

    graph: dict[str, str]
    profiles: dict[str, Profile]
    gone: Mapping[str, int] = {}
    apart: Mapping[str, Mapping[str, int]] = {}


class MembershipChange(NamedTuple):
    """Somebody entered (`membership` given) or left an audience."""

    audience: str
    profile: str
    membership: Membership | None


class Outcome(NamedTuple):
    """What a step has changed besides the state: the profiles to save, those that merged into others, the
    graph's new links, membership changes in order, the records that follow, in order, and who was erased: their
    records come after all others. `unlinked` are nodes that are nobody's any more."""

    changed: frozenset[str]
    merged: Mapping[str, str]
    links: Mapping[str, str]
    memberships: Sequence[MembershipChange]
    entries: Sequence[Entry]
    erased: Sequence[Erasure] = ()
    unlinked: frozenset[str] = frozenset()


class Changes(msgspec.Struct):
    """What a step has changed so far besides the state, as `Outcome` says it in the end: `profiles` are to be saved,
    `derived` are records that follow, each with the position that is its cause."""

    profiles: set[str] = set()
    merged: dict[str, str] = {}
    links: dict[str, str] = {}
    memberships: list[MembershipChange] = []
    derived: list[tuple[int, Entry]] = []
    erased: list[Erasure] = []
    unlinked: set[str] = set()


def nodes_of(rows: Iterable[Inbound]) -> set[str]:
    """Every node that has to be looked up before the step."""
    rows = list(rows)
    nodes = {node_id(identifier) for identifier in identifiers_of(rows)}
    for row in rows:
        if row.erase is not None:
            nodes.add(row.erase.node)
        if row.closed is not None:
            nodes.add(row.closed.outcome.profile)
        if row.told is not None:
            nodes.add(row.told.profile)
    return nodes - {""}


def identifiers_of(rows: Iterable[Inbound]) -> set[Identifier]:
    """Every identifier that these rows carry: what has to be looked up before the step."""
    return {i for row in rows if row.record is not None for i in row.record.identifiers}
