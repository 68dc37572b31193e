"""HubSpot's webhooks: what has changed in the CRM.

Sources: developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation (v3
signature: which escapes of the address are decoded, five minutes), .../create-generic-webhook-subscriptions
(payload). The signature covers the address that HubSpot called: set ROUNDTRIP_PUBLIC_URL where a proxy stands
before Roundtrip. `eventId` alone "is not guaranteed to be unique", so what is known by it, its subscription, its
object and its time together is one record.

Nothing of a request to HubSpot comes back but `changeSource` and `sourceId`: a change that our own app made has
`changeSource` INTEGRATION and our app's id, which the record's properties hold. A contact's property that was changed
is an attribute of its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, Payload
from feeds.fields import identifiers_of, require_text, text_of, vendors
from feeds.items import Item, gather, read_items
from feeds.signatures import base64_of, check_equal, check_time, header_of, hmac_sha256
from feeds.times import from_milliseconds

SIGNATURE: Final = "x-hubspot-signature-v3"
TIME: Final = "x-hubspot-request-timestamp"
#: The escapes that HubSpot decodes in the address before it signs.
_DECODED: Final = {
    "%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
    "%2A": "*", "%2C": ",", "%3B": ";",
}  # fmt: skip
#: HubSpot's number for contacts, in events of the newer kind (`object.propertyChange`).
_CONTACTS: Final = "0-1"
_ASKED: Final = (
    "propertyName",
    "propertyValue",
    "changeSource",
    "sourceId",
    "objectId",
    "objectTypeId",
    "portalId",
)


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the v3 signature holds, and is fresh."""
    given, time = header_of(payload, SIGNATURE), header_of(payload, TIME)
    parts = (b"POST", _decoded(payload.url).encode(), payload.body, time.encode("utf-8", "surrogateescape"))
    check_equal(base64_of(hmac_sha256(secret, *parts)), given, "X-HubSpot-Signature-v3")
    check_time(time, 1_000, payload)


def _decoded(url: str) -> str:
    for escape, character in _DECODED.items():
        url = url.replace(escape, character).replace(escape.lower(), character)
    return url


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one delivery, a JSON list of events. Raises `FeedError`s."""
    return gather(read_items(payload.body), lambda item: _records(feed, item))


def _records(feed: str, item: Item) -> Iterator[Record]:
    said = item.said
    kind = require_text(said, "subscriptionType", item.pointer)
    identity = (require_text(said, "eventId", item.pointer), said.get("subscriptionId"), said.get("objectId"))
    yield Record(
        feed=feed,
        message_id="-".join(text_of(part) for part in (*identity, said.get("occurredAt"))),
        type="track",
        name=kind,
        occurred_at=from_milliseconds(said.get("occurredAt"), f"{item.pointer}/occurredAt"),
        identifiers=identifiers_of(_claims(feed, kind, said)),
        body=msgspec.Raw(item.raw),
        properties={name: said[name] for name in _ASKED if name in said} | engagement(kind),
        traits=_changed(kind, said),
    )


def _changed(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    """The attribute that a change of a contact's property is."""
    name = said.get("propertyName")
    if not _of_contact(kind, said) or not isinstance(name, str) or "propertyValue" not in said:
        return {}
    return {name: said["propertyValue"]}


def _of_contact(kind: str, said: dict[str, Any]) -> bool:
    return kind.startswith("contact.") or said.get("objectTypeId") == _CONTACTS


def _claims(feed: str, kind: str, said: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    if _of_contact(kind, said):
        yield vendors(feed, "contact", said.get("objectId"))
        if said.get("propertyName") in ("email", "phone"):
            yield said["propertyName"], said.get("propertyValue")


FEED: Final = FeedFormat(verify, parse)
