"""The records that follow from others: who entered an audience, which profiles are one, what is to be sent.

Each has an identity made of what caused it, so that a step repeated after a crash appends nothing twice.
None holds more of a person than the profile's id, but for the fields that a connection declared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

import msgspec

from domain.batches import Batches
from domain.messages import (
    AttributeRefused,
    MembershipChanged,
    MergeRefused,
    ProfileCreated,
    ProfileMerged,
    ProfileUnmerged,
    RoutingWithheld,
)
from domain.outbound import OUTCOME_VERSION, Outbound, Outcome, Status
from domain.profiles import Profile
from domain.records import Entry, Identifier, Record, derive_id, node_id
from domain.routing import Routed, Withheld

_encode = msgspec.json.Encoder().encode

#: The event names under which page and screen calls can be asked for.
VIEWED: Final = {"page": "Page Viewed", "screen": "Screen Viewed"}


def event_name(record: Record) -> str:
    """The event that a record is: a track call's own name, or the viewing of a page or screen."""
    return VIEWED.get(record.type, record.name)


def _entry(topic: str, subject: str, body: msgspec.Struct, *identity: str) -> Entry:
    return Entry(derive_id(topic.split(".")[0], *identity), 1, topic, subject, _encode(body))


def profile_created(profile: Profile, cause: int) -> Entry:
    body = ProfileCreated(profile.id, cause)
    return _entry("profile.created", profile.id, body, "created", profile.id, str(cause))


def profile_merged(kept: str, gone: str, cause: int) -> Entry:
    body = ProfileMerged(kept, gone, cause)
    return _entry("profile.merged", kept, body, "merged", kept, gone, str(cause))


def profile_unmerged(profile: str, parted: str, cause: int) -> Entry:
    body = ProfileUnmerged(profile, parted, cause)
    return _entry("profile.unmerged", parted, body, "unmerged", profile, parted, str(cause))


def merge_refused(profile: Profile, identifier: Identifier, reason: str, cause: int) -> Entry:
    """The identifier does not become this person's; told once for each pair and reason."""
    node = node_id(identifier)
    body = MergeRefused(profile.id, identifier.kind, node, reason, cause)
    return _entry("identity.merge_refused", profile.id, body, profile.id, node, reason)


def attribute_refused(profile: str, attribute: str, reason: str, cause: int) -> Entry:
    """Told once for each person, attribute and reason."""
    body = AttributeRefused(profile, attribute, reason, cause)
    return _entry("attribute.refused", profile, body, profile, attribute, reason)


def membership(
    audience: str, profile: str, entered: bool, at: int, cause: int, because: tuple[int, ...]
) -> Entry:
    topic = "audience.entered" if entered else "audience.exited"
    body = MembershipChanged(audience, profile, at, cause, because)
    return _entry(topic, profile, body, audience, profile, topic, str(at), str(cause))


def exited_by_erasure(audience: str, profile: str, at: int, cause: int) -> Entry:
    """Nobody's, as the person is gone: whoever counts members has to be told."""
    body = MembershipChanged(audience, profile, at, cause, ())
    entry = _entry("audience.exited", profile, body, audience, profile, "erased", str(at), str(cause))
    return entry._replace(subject=None)


def withheld(profile: Profile, decision: Withheld, cause: int) -> Entry:
    """Told once for each stay in the audience and reason, and each time that somebody is taken back for it; of an event
    that waited, once."""
    destination = decision.destination
    body = RoutingWithheld(destination.connection, destination.audience, profile.id, decision.reason, cause)
    stayed = destination.audience and not decision.told
    stay = str(profile.memberships[destination.audience].position if stayed else cause)
    return _entry(
        "routing.withheld", profile.id, body, destination.connection, profile.id, stay, decision.reason
    )


def gathered(profile: str, decision: Routed, cause: int) -> Entry:
    """An event that goes out by the connection's next run, as it will be told. Its topic says whose it is."""
    connection = decision.destination.connection
    id = derive_id("outbound", connection, profile, decision.change, str(cause), "1")
    body = _outbound(id, "", profile, decision, cause)
    return Entry(derive_id("gathered", id), 1, gathered_topic(connection), profile, _encode(body))


def gathered_topic(connection: str) -> str:
    """The topic of what a connection has gathered."""
    return f"gathered.{connection}"


def outbound(routed: Iterable[tuple[int, str, Routed]]) -> Iterator[Entry]:
    """The outbound records of a step, formed into batches by connection. The records of a batch follow one
    another, so that they stand side by side in the log. What is not to be sent is in no other's batch, and has
    its outcome with it."""
    ordered = sorted(routed, key=lambda item: (item[2].destination.connection, item[0]))
    times: Counter[tuple[str, ...]] = Counter()
    for connection, items in groupby(ordered, key=lambda item: item[2].destination.connection):
        batches: Batches | None = None
        unsent: list[Entry] = []
        for cause, profile, decision in items:
            change = (connection, profile, decision.change, str(cause))
            times[change] += 1
            identity = derive_id("outbound", *change, str(times[change]))
            if decision.unsent:
                body = _outbound(identity, derive_id("batch", identity), profile, decision, cause)
                entry = Entry(identity, 1, "outbound.requested", profile, _encode(body))
                unsent += (entry, _ended(body, decision.ends))
            else:
                batches = batches or Batches(decision.destination.max_batch)
                yield batches.add(_outbound(identity, "", profile, decision, cause))
        yield from unsent


def _outbound(id: str, batch: str, profile: str, decision: Routed, cause: int) -> Outbound:
    destination = decision.destination
    return Outbound(
        id=id,
        connection=destination.connection,
        batch=batch,
        profile=profile,
        audience=destination.audience,
        change=decision.change,
        fields=decision.fields,
        cause=cause,
        purpose=destination.purpose,
        event=decision.event,
        occurred_at=decision.occurred_at,
        properties=decision.properties,
        channel=destination.channel,
        quiet=decision.quiet,
        unsent=decision.unsent,
        run=cause if destination.mode in ("snapshot", "diff") else 0,
        before=decision.before,
    )


def _ended(record: Outbound, status: Status) -> Entry:
    """The outcome of what is not to be sent."""
    body = Outcome(
        id=record.id,
        connection=record.connection,
        status=status,
        reason=record.unsent,
        attempts=0,
    )
    return Entry(record.id, OUTCOME_VERSION, f"outbound.{status}", None, _encode(body))
