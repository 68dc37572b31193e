"""A profile: what is known of one person, as a mergeable fold over that person's records.

An attribute's value is decided by the highest `(source priority, occurred_at, position)`, a consent's by
the highest `(occurred_at, position)`: total orders, so the order of arrival never matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from domain.audiences.evaluation import CompiledAudiences, Person
from domain.awaiting import Awaiting, merge_awaiting
from domain.channels import Reached, merge_reached
from domain.consent import Consent, Policies
from domain.mirrors import Mirror, merge_mirrors
from domain.records import Identifier, node_id

#: Attributes of one profile; further names are not taken in (docs/reference/limits.md).
ATTRIBUTE_LIMIT: Final = 500


class Attribute(NamedTuple):
    """An attribute's value and what decided for it. `occurred_at` is in microseconds."""

    value: Any
    priority: int
    occurred_at: int
    position: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.priority, self.occurred_at, self.position)


class Membership(NamedTuple):
    """Since when a person is in an audience: the position that made it so, and the log time."""

    position: int
    at: int


class Profile(msgspec.Struct, array_like=True):
    """One person. `id` is the node id of the identifier that the person was first seen by.

    `conditions` is the audiences' state, `dues` says at which log time which audience has to be looked at
    again, `routed` holds per connection the fields that its destination was last told of, `heard` those that went along
    with the last event. `mirrors` holds per connection what a destination in which people work holds of its fields.
    `apart` says of a node of the person's which others it was unmerged from, and where. `reached` says of channels how
    the person was reached by them. `unsaid` holds per connection what its destination knows of somebody who has become
    this person, and what the connection's next run takes back. `awaiting` holds per connection events that wait for an
    identifier. `ways` says per connection through which others events that it sent had come.
    A profile is owned by the pipeline's step, which changes it in place.
    """

    id: str
    created: int
    latest: int
    identifiers: dict[str, dict[str, int]] = {}
    attributes: dict[str, Attribute] = {}
    consent: dict[str, Consent] = {}
    conditions: dict[str, Any] = {}
    memberships: dict[str, Membership] = {}
    dues: dict[str, int] = {}
    routed: dict[str, dict[str, Any]] = {}
    heard: dict[str, dict[str, Any]] = {}
    mirrors: dict[str, dict[str, Mirror]] = {}
    apart: dict[str, dict[str, int]] = {}
    reached: dict[str, Reached] = {}
    unsaid: dict[str, list[dict[str, Any]]] = {}
    awaiting: dict[str, list[Awaiting]] = {}
    ways: dict[str, list[str]] = {}

    def value(self, attribute: str) -> Any:
        """An attribute's value, `None` where it has none."""
        held = self.attributes.get(attribute)
        return None if held is None else held.value

    @property
    def due(self) -> int | None:
        """The earliest log time at which something may change by time alone."""
        return min(self.dues.values()) if self.dues else None


#: Equal profiles have equal bytes, whatever order their parts came in.
encode_profile = msgspec.msgpack.Encoder(order="deterministic").encode
_order = msgspec.json.Encoder(order="deterministic").encode
decode_profile = msgspec.msgpack.Decoder(Profile).decode


class _Consents(msgspec.Struct, array_like=True):
    """A profile as far as its consent; what stands before is passed over, and what follows is left."""

    id: msgspec.Raw
    created: msgspec.Raw
    latest: msgspec.Raw
    identifiers: msgspec.Raw = msgspec.Raw()
    attributes: msgspec.Raw = msgspec.Raw()
    consent: dict[str, Consent] = {}


_consents = msgspec.msgpack.Decoder(_Consents).decode


def decode_consent(state: bytes) -> dict[str, Consent]:
    """The consent alone of an encoded profile."""
    return _consents(state).consent


def add_identifiers(profile: Profile, identifiers: Iterable[Identifier], position: int) -> bool:
    """Adds what was not known; true when there was something."""
    new = False
    for kind, value in identifiers:
        values = profile.identifiers.setdefault(kind, {})
        if value not in values:
            values[value] = position
            new = True
    return new


def keep_apart(profile: Profile, node: str, others: Mapping[str, int]) -> None:
    """Notes from which nodes one of the person's was unmerged; of several times the last one counts."""
    held = profile.apart.setdefault(node, {})
    for other, position in others.items():
        held[other] = max(position, held.get(other, 0))


class Fresh(NamedTuple):
    """The names of attributes whose value has changed, and of those that there is no room for."""

    changed: list[str]
    over: list[str]


def set_attributes(
    profile: Profile, values: Mapping[str, Any], priority: int, occurred_at: int, position: int
) -> Fresh:
    """Takes in what outranks the value there."""
    changed: list[str] = []
    over: list[str] = []
    attributes = profile.attributes
    for name, value in values.items():
        held = attributes.get(name)
        if held is None:
            if len(attributes) >= ATTRIBUTE_LIMIT:
                over.append(name)
                continue
        elif held.rank >= (priority, occurred_at, position):
            continue
        attributes[name] = Attribute(value, priority, occurred_at, position)
        if held is None or held.value != value:
            changed.append(name)
    return Fresh(changed, over)


def set_consent(profile: Profile, said: Mapping[str, Consent]) -> list[str]:
    """Takes in what is newer; the purposes whose consent has changed by it."""
    changed = []
    for purpose, consent in said.items():
        held = profile.consent.get(purpose)
        if held is None or held.rank < consent.rank:
            profile.consent[purpose] = consent
            if held is None or held.given != consent.given:
                changed.append(purpose)
    return changed


def leave_unsaid(profile: Profile, connection: str, *fields: dict[str, Any]) -> None:
    """Notes what a destination is to be told to take back; the same things in whatever order are noted alike."""
    noted = {_order(one): one for one in (*profile.unsaid.get(connection, ()), *fields)}
    profile.unsaid[connection] = [noted[key] for key in sorted(noted)]


def consented(profile: Profile, purpose: str, policies: Policies) -> bool:
    """Whether the person consents to this purpose; a connection without purpose needs no consent."""
    return not purpose or consent_to(profile, purpose, policies) is True


def consent_to(profile: Profile, purpose: str, policies: Policies) -> bool | None:
    """What the person has said to this purpose or, where that is nothing, what holds by default."""
    said = profile.consent.get(purpose)
    if said is not None:
        return said.given
    known = {name: profile.value(name) for name in policies.attributes(purpose) if name in profile.attributes}
    return policies.by_default(purpose, known)


def as_person(profile: Profile) -> Person:
    """The person as audiences ask about them."""
    return Person(
        profile.conditions,
        {name: attribute.value for name, attribute in profile.attributes.items()},
        {purpose: consent.given for purpose, consent in profile.consent.items()},
        profile.memberships,
        profile.id,
    )


def nodes(profile: Profile) -> list[str]:
    """The node ids of every identifier of the person."""
    return [
        node_id(Identifier(kind, value)) for kind, values in profile.identifiers.items() for value in values
    ]


def merge(a: Profile, b: Profile, compiled: CompiledAudiences) -> Profile:
    """One profile of two, as if both had been one from the start: the elder's id, everything of both.

    Commutative and associative. Memberships keep the earlier entry; whoever holds the result looks at
    the audiences anew, as together they may say something else.
    """
    elder, younger = (a, b) if (a.created, a.id) <= (b.created, b.id) else (b, a)
    for kind, values in younger.identifiers.items():
        held = elder.identifiers.setdefault(kind, {})
        for value, position in values.items():
            held[value] = min(position, held.get(value, position))
    for name, attribute in younger.attributes.items():
        rival = elder.attributes.get(name)
        if rival is None or rival.rank < attribute.rank:
            elder.attributes[name] = attribute
    for purpose, consent in younger.consent.items():
        said = elder.consent.get(purpose)
        if said is None or said.rank < consent.rank:
            elder.consent[purpose] = consent
    for audience, membership in younger.memberships.items():
        entered = elder.memberships.get(audience)
        if entered is None or membership.position < entered.position:
            elder.memberships[audience] = membership
    for audience, due in younger.dues.items():
        elder.dues[audience] = min(due, elder.dues.get(audience, due))
    for connection, fields in younger.routed.items():
        elder.routed.setdefault(connection, fields)
    for connection, fields in younger.heard.items():
        elder.heard[connection] = {**fields, **elder.heard.get(connection, {})}
    merge_mirrors(elder.mirrors, younger.mirrors)
    for node, others in younger.apart.items():
        keep_apart(elder, node, others)
    for channel, reached in younger.reached.items():
        elder.reached[channel] = merge_reached(elder.reached.get(channel, Reached()), reached)
    for connection, several in younger.unsaid.items():
        leave_unsaid(elder, connection, *several)
    for connection, waiting in younger.awaiting.items():
        elder.awaiting[connection] = merge_awaiting(elder.awaiting.get(connection, ()), waiting)
    for connection, through in younger.ways.items():
        elder.ways[connection] = sorted({*elder.ways.get(connection, ()), *through})
    elder.conditions = compiled.merge(elder.conditions, younger.conditions)
    elder.latest = max(elder.latest, younger.latest)
    return elder
