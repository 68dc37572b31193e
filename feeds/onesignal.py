"""OneSignal's Event Streams: what became of each push, e-mail and SMS, as webhooks.

Source: documentation.onesignal.com/docs/event-streams and .../event-streams-data. Event Streams have no
signature; the customer sets headers of his own, and ours carries the secret: `X-Roundtrip-Secret`. The body
is a template of the customer's too; ours is in docs/how-to/connect-onesignal.md: one object, or a list of
objects, with `event` and `message` under OneSignal's names. The kinds of SMS could not be confirmed; for an e-mail
that bounced or was held back the documentation has two spellings, and both are taken.

Pairs with `adapters/connectors/onesignal.py` by `message.name` (our batch, which the connector gives the
notification as its name) and `event.external_id` (the person): together they are one outbound record. That
a notification's own `data` comes back as well could not be confirmed; where it does, it serves the same end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Identifier, Record
from feeds.feed import FeedFormat, InvalidError, Payload, Problem, UnverifiedError
from feeds.fields import object_in, require_text, text_of
from feeds.items import Item, gather, read_items
from feeds.signatures import equal
from feeds.times import from_seconds

HEADER: Final = "x-roundtrip-secret"
EVENTS_LIMIT: Final = 1_000
#: OneSignal's kind → our event. Other kinds keep their name.
NAMES: Final = {
    "message.push.sent": "Push Sent",
    "message.push.received": "Push Delivered",
    "message.push.clicked": "Push Opened",
    "message.push.failed": "Push Bounced",
    "message.push.unsubscribed": "Push Unsubscribed",
    "message.email.sent": "Email Sent",
    "message.email.received": "Email Delivered",
    "message.email.opened": "Email Opened",
    "message.email.clicked": "Email Link Clicked",
    "message.email.hardbounced": "Email Bounced",
    "message.email.bounced": "Email Bounced",
    "message.email.failed": "Email Bounced",
    "message.email.supressed": "Email Bounced",
    "message.email.suppressed": "Email Bounced",
    "message.email.reported_as_spam": "Email Marked as Spam",
    "message.email.unsubscribed": "Email Unsubscribed",
    "message.sms.sent": "SMS Sent",
    "message.sms.delivered": "SMS Delivered",
    "message.sms.failed": "SMS Bounced",
    "message.sms.undelivered": "SMS Bounced",
}


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the header carries the feed's secret."""
    if not equal(secret, payload.headers.get(HEADER, "")):
        raise UnverifiedError(
            Problem("", "wrong_secret", f"the header {HEADER} does not carry this feed's secret")
        )


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one webhook call. Raises `FeedError`s."""
    items = read_items(payload.body)
    if len(items) > EVENTS_LIMIT:
        raise InvalidError(Problem("", "too_many_events", f"at most {EVENTS_LIMIT} events are taken at once"))
    return gather(items, lambda item: _records(feed, item))


def _records(feed: str, item: Item) -> Iterator[Record]:
    event, at = item.said.get("event"), f"{item.pointer}/event"
    if not isinstance(event, dict):
        raise InvalidError(Problem(at, "no_event", "an object 'event' is expected here"))
    kind = require_text(event, "kind", at)
    message = object_in(item.said, "message")
    sent = dict(object_in(event, "data"))
    if message.get("name"):
        sent["outbound_batch"] = message["name"]
    yield Record(
        feed=feed,
        message_id=require_text(event, "id", at),
        type="track",
        name=NAMES.get(kind, kind),
        occurred_at=from_seconds(event.get("timestamp"), f"{at}/timestamp"),
        identifiers=_identifiers(event, at),
        body=msgspec.Raw(item.raw),
        properties=engagement(kind, message.get("id"), sent, message.get("template_id")),
    )


def _identifiers(event: dict[str, Any], at: str) -> tuple[Identifier, ...]:
    kinds = (("user_id", "external_id"), ("onesignal_id", "onesignal_id"))
    claims = ((ours, event.get(theirs)) for ours, theirs in kinds)
    found = tuple(
        Identifier(ours, value) for ours, value in claims if isinstance(value, str) and text_of(value)
    )
    if not found:
        detail = "an external_id or a onesignal_id is expected"
        raise InvalidError(Problem(f"{at}/external_id", "no_identifier", detail))
    return found


FEED: Final = FeedFormat(verify, parse)
