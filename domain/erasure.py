"""Erasing a person: what is asked, what it means at its position in the log, and what the log says of it.

A request names one identifier by its node. Where it stands in the log, the pipeline finds whose that is, takes
the whole person out of its state and has the keys destroyed; so the same position means the same in a replay,
which no longer finds anybody there.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from domain.derived import exited_by_erasure
from domain.engagement import EVENTS
from domain.outbound import Outbound
from domain.profiles import Profile, nodes
from domain.records import Entry, Identifier, derive_id, node_id, record_of
from domain.routing import Destination

REQUESTED: Final = "subject.erase_requested"
ERASED: Final = "subject.erased"
REFUSED: Final = "engagement.refused"
#: The topics of what comes back of messages.
ENGAGEMENT: Final = frozenset(f"track.{event}" for event in EVENTS)

_encode = msgspec.json.Encoder().encode


class EraseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks that the person with this node be erased. `asked_by` is a hash of who that was."""

    id: str
    node: str
    asked_by: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An outbound record that asks a destination to delete the person."""

    id: str
    connection: str
    batch: str


class SubjectErased(msgspec.Struct, frozen=True, kw_only=True):
    """A person is gone. `nodes` are pseudonyms of their identifiers, `profile` of the person (empty where there
    was none), `requested` the request's position. `asked` are destinations that were asked to delete, in the
    order of the records before this one; `unable` those that know the person and cannot be asked."""

    id: str
    requested: int
    asked_by: str
    nodes: list[str]
    profile: str
    audiences: list[str]
    asked: list[Asked]
    unable: list[str]


class EngagementRefused(msgspec.Struct, frozen=True, kw_only=True):
    """What came back of a message, by this feed, is not kept: it is of a person who has been erased since. `node` is a
    pseudonym of the identifier that led it, `erased` the last position that the erasure took."""

    feed: str
    event: str
    node: str
    erased: int


decode_refused = msgspec.json.Decoder(EngagementRefused).decode
decode_request = msgspec.json.Decoder(EraseRequest).decode
decode_erased = msgspec.json.Decoder(SubjectErased).decode


def request_entry(request: EraseRequest) -> Entry:
    """Nobody's row: it names a node alone, which is in the log anyway."""
    return Entry(request.id, 1, REQUESTED, None, _encode(request))


def refused(entry: Entry, erased: int) -> Entry:
    """What the log keeps of what came back of somebody who was erased: nobody's row, of the same identity."""
    record = record_of(entry.state)
    body = EngagementRefused(feed=record.feed, event=record.name, node=entry.subject or "", erased=erased)
    return Entry(entry.stream_id, entry.version, REFUSED, None, _encode(body))


class Erasure(NamedTuple):
    """What an erasure takes away, and the records that follow from it; the last one is `SubjectErased`."""

    position: int
    profile: str
    nodes: tuple[str, ...]
    values: tuple[str, ...]
    entries: tuple[Entry, ...]


def erase(
    request: EraseRequest,
    position: int,
    at: int,
    profile: Profile | None,
    destinations: list[Destination],
    aliases: list[Identifier],
) -> Erasure:
    """The erasure of a person, or of a node that is nobody's. `destinations` are those that were told of the
    person; `aliases` are other names of the person's identifiers, under which records may have been led."""
    found = {request.node, *(node_id(alias) for alias in aliases)}
    values: set[str] = set()
    entries: list[Entry] = []
    asked: list[Asked] = []
    if profile is not None:
        found.update(nodes(profile), (profile.id,))
        values = {value for known in profile.identifiers.values() for value in known}
        entries += [exited_by_erasure(name, profile.id, at, position) for name in sorted(profile.memberships)]
        for destination in destinations:
            if "delete" in destination.changes:
                for number, fields in enumerate(_known_by(profile, destination)):
                    entries.append(_deletion(request, destination, fields, position, number))
                    one = entries[-1].stream_id
                    batch = derive_id("batch", one)
                    asked.append(Asked(id=one, connection=destination.connection, batch=batch))
    told = SubjectErased(
        id=request.id,
        requested=position,
        asked_by=request.asked_by,
        nodes=sorted(found),
        profile=profile.id if profile is not None else "",
        audiences=sorted(profile.memberships) if profile is not None else [],
        asked=asked,
        unable=[d.connection for d in destinations if "delete" not in d.changes],
    )
    entries.append(Entry(request.id, 2, ERASED, None, _encode(told)))
    return Erasure(position, told.profile, tuple(told.nodes), tuple(sorted(values)), tuple(entries))


def _known_by(profile: Profile, destination: Destination) -> list[dict[str, Any]]:
    """The fields that a destination knows the person by, and further ones by which it knows another who turned out to
    be the same."""
    name = destination.connection
    known = {**profile.heard.get(name, {}), **profile.routed.get(name, {})}
    return [known, *profile.unsaid.get(name, ())]


def _deletion(
    request: EraseRequest, destination: Destination, fields: dict[str, Any], position: int, number: int
) -> Entry:
    """The one record that must name the person for a while: sealed under a key of its own, which goes with its
    outcome."""
    further = (str(number),) if number else ()
    identity = derive_id("outbound", destination.connection, request.id, "delete", *further)
    body = Outbound(
        id=identity,
        connection=destination.connection,
        batch=derive_id("batch", identity),
        profile=request.node,
        audience=destination.audience,
        change="delete",
        fields=fields,
        cause=position,
    )
    return Entry(identity, 1, "outbound.requested", identity, _encode(body))
