"""Stripe's events: payments, invoices, subscriptions, customers.

Sources: docs.stripe.com/webhooks (signature, five minutes), docs.stripe.com/api/events/object. Each delivery is
signed anew. The event's type is the record's name; `data.object` are its properties. The person is the object's
customer, an e-mail address that it names as the customer's, or `metadata.user_id`, which is yours to set.
`client_reference_id` is not taken for a person, as Stripe lets it be a cart as well.

Pairs with a connector by `metadata` of the object: `outbound_id`, `outbound_batch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, Payload
from feeds.fields import identifiers_of, object_in, require_text, vendors
from feeds.items import read_object
from feeds.signatures import check_time, equal, header_of, hmac_sha256, wrong
from feeds.times import from_seconds

SIGNATURE: Final = "stripe-signature"


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless one of the `v1` signatures holds, and is fresh."""
    parts = [part.strip().partition("=") for part in header_of(payload, SIGNATURE).split(",")]
    time = next((value for name, _, value in parts if name == "t"), "")
    right = hmac_sha256(secret, time.encode("utf-8", "surrogateescape"), b".", payload.body).hex()
    if not any(equal(right, value) for name, _, value in parts if name == "v1"):
        raise wrong("Stripe-Signature")
    check_time(time, 1, payload)


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The record of one event. Raises `FeedError`s."""
    item = read_object(payload.body)
    kind = require_text(item.said, "type", "")
    about = object_in(object_in(item.said, "data"), "object")
    return [
        Record(
            feed=feed,
            message_id=require_text(item.said, "id", ""),
            type="track",
            name=kind,
            occurred_at=from_seconds(item.said.get("created"), "/created"),
            identifiers=identifiers_of(_claims(feed, about)),
            body=msgspec.Raw(item.raw),
            properties_at="data.object",
            properties=engagement(kind, None, object_in(about, "metadata")),
        )
    ]


def _claims(feed: str, about: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    customer = about.get("customer")
    is_customer = about.get("object") == "customer"
    yield "user_id", object_in(about, "metadata").get("user_id")
    # Expanded where the customer stands in whole.
    yield vendors(feed, "customer", customer.get("id") if isinstance(customer, dict) else customer)
    if is_customer:
        yield vendors(feed, "customer", about.get("id"))
        yield from (("email", about.get("email")), ("phone", about.get("phone")))
    for place in ("customer_email", "receipt_email"):
        yield "email", about.get(place)
    for place in ("customer_details", "billing_details"):
        yield "email", object_in(about, place).get("email")
        yield "phone", object_in(about, place).get("phone")


FEED: Final = FeedFormat(verify, parse)
