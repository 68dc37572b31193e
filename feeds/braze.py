"""Braze Currents by its custom HTTP connector: what became of each message, and what people did.

Sources: braze.com/docs, "Custom Currents connector" (envelope, `user` and `properties`, Bearer token, which status
makes Braze do what) and "Message engagement events" (event types). At 400 Braze sends the events of a batch again
one by one and gives up those that are refused alone, at 413 it sends smaller batches; it knows no 422. An empty
batch asks whether the token is right.

Pairs with a connector by `dispatch_id` (what Braze's send endpoints answer; `message_id` in the properties), else by
`campaign_id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, InvalidError, MalformedError, PartlyInvalidError, Payload
from feeds.fields import identifiers_of, object_in, require_text, text_of, vendors
from feeds.items import Item, gather, read_items
from feeds.signatures import check_bearer
from feeds.times import from_seconds

_MESSAGES: Final = "users.messages."
#: Braze's event type, without `users.messages.` → our event. All others keep Braze's whole type as their name.
NAMES: Final = {
    "pushnotification.Send": "Push Sent",
    "pushnotification.Open": "Push Opened",
    "pushnotification.Bounce": "Push Bounced",
    "email.Send": "Email Sent",
    "email.Delivery": "Email Delivered",
    "email.Open": "Email Opened",
    "email.Click": "Email Link Clicked",
    "email.Bounce": "Email Bounced",
    "email.MarkAsSpam": "Email Marked as Spam",
    "email.Unsubscribe": "Email Unsubscribed",
    "sms.CarrierSend": "SMS Sent",
    "sms.Delivery": "SMS Delivered",
    "sms.DeliveryFailure": "SMS Bounced",
    "sms.Rejection": "SMS Bounced",
    "sms.ShortLinkClick": "SMS Link Clicked",
    "sms.InboundReceive": "SMS Received",
}


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one batch, `{"events": […]}`. Raises `FeedError`s."""
    try:
        if not payload.body.strip():
            return []
        return gather(
            read_items(payload.body, "events"), lambda item: _records(feed, item), b'{"events":[%b]}'
        )
    except PartlyInvalidError:
        raise
    except InvalidError as error:
        raise MalformedError(*error.problems) from None


def _records(feed: str, item: Item) -> Iterator[Record]:
    said = item.said
    kind = require_text(said, "event_type", item.pointer)
    user, about = object_in(said, "user"), object_in(said, "properties")
    custom = kind == "users.behaviors.CustomEvent" and text_of(about.get("name"))
    name = NAMES.get(kind.removeprefix(_MESSAGES), kind) if kind.startswith(_MESSAGES) else kind
    yield Record(
        feed=feed,
        message_id=require_text(said, "id", item.pointer),
        type="track",
        name=custom or name,
        occurred_at=from_seconds(said.get("time"), f"{item.pointer}/time"),
        identifiers=identifiers_of(_claims(feed, kind, user, about)),
        body=msgspec.Raw(item.raw),
        properties_at="properties.custom_properties" if custom else "properties",
        properties=engagement(kind, about.get("dispatch_id"), campaign=_campaign(about)),
    )


def _campaign(about: dict[str, Any]) -> Any:
    """Its API id, by which it is triggered: some of Braze's schemas have an internal one beside it."""
    return about.get("campaign_api_id") or about.get("campaign_id")


def _claims(
    feed: str, kind: str, user: dict[str, Any], about: dict[str, Any]
) -> Iterator[tuple[str | None, Any]]:
    yield "user_id", user.get("external_user_id")
    yield vendors(feed, "user", user.get("user_id"))
    yield "email", about.get("email_address")
    # Of a message that came in, the number it was sent to is the customer's and not the person's.
    yield "phone", about.get("user_phone_number" if kind.endswith("InboundReceive") else "to_phone_number")
    yield vendors(feed, "device", user.get("device_id"))


FEED: Final = FeedFormat(check_bearer, parse)
