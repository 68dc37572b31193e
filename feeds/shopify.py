"""Shopify's webhooks: orders, checkouts, customers and all else that a shop tells.

Sources: shopify.dev/docs/apps/build/webhooks/verify-deliveries and .../delivery-structure (headers),
shopify.dev/docs/api/admin-rest (payloads). The signature covers the body alone and no time: that a delivery is
not taken in twice rests on `X-Shopify-Webhook-Id`, which is the same for each repeated delivery and is not
signed. One body is always JSON; a shop can also send XML, which is not taken.

Nothing that a connector sends comes back, so it pairs with none; what Shopify tells are the conversions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, Payload
from feeds.fields import digest_of, identifiers_of, object_in, text_of, vendors
from feeds.items import read_object
from feeds.signatures import base64_of, check_equal, header_of, hmac_sha256
from feeds.times import parse_time

SIGNATURE: Final = "x-shopify-hmac-sha256"
#: Shopify's topic → the event as Segment's e-commerce specification has it. Other topics keep their name.
NAMES: Final = {
    "orders/create": "Order Completed",
    "orders/cancelled": "Order Cancelled",
    "refunds/create": "Order Refunded",
    "checkouts/create": "Checkout Started",
}


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the signature fits the body."""
    given = header_of(payload, SIGNATURE)
    check_equal(base64_of(hmac_sha256(secret, payload.body)), given, "X-Shopify-Hmac-SHA256")


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The record of one delivery. Raises `FeedError`s."""
    item = read_object(payload.body)
    topic = text_of(payload.headers.get("x-shopify-topic")) or "unknown"
    triggered = payload.headers.get("x-shopify-triggered-at")
    return [
        Record(
            feed=feed,
            message_id=text_of(payload.headers.get("x-shopify-webhook-id"))
            or digest_of(topic.encode(), payload.body),
            type="track",
            name=NAMES.get(topic, topic),
            occurred_at=parse_time(triggered, "") if triggered else payload.received_at,
            identifiers=identifiers_of(_claims(feed, topic, item.said)),
            body=msgspec.Raw(item.raw),
            properties=_properties(topic, item.said) | engagement(topic),
        )
    ]


def _claims(feed: str, topic: str, said: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    if topic.startswith("customers/"):
        yield vendors(feed, "customer", said.get("id"))
    customer = object_in(said, "customer")
    yield vendors(feed, "customer", customer.get("id"))
    for about in (said, customer):
        yield from (("email", about.get("email")), ("phone", about.get("phone")))


def _properties(topic: str, said: dict[str, Any]) -> dict[str, Any]:
    """What an audience counts by, under the names of Segment's e-commerce specification."""
    about: dict[str, Any] = {"total": _money(said.get("total_price"))}
    if topic in NAMES:
        about["order_id"] = text_of(said.get("order_id") or said.get("id"))
    found = about | {
        "currency": said.get("currency"),
        "name": said.get("name"),
        "status": said.get("financial_status"),
    }
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _money(value: Any) -> float | None:
    """Money is text at Shopify, as 199.00."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


FEED: Final = FeedFormat(verify, parse)
