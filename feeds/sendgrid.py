"""SendGrid's Event Webhook: what became of each e-mail.

Sources: twilio.com/docs/sendgrid/for-developers/tracking-events/event (fields) and .../getting-started-event-
webhook-security-features (signature); sendgrid-python's EventWebhook (what is signed, and the key's form). The
feed's secret is the webhook's verification key. How old a signature may be SendGrid does not say, nor whether a
repeated delivery is signed anew; five minutes are taken, as with everybody else.

Pairs with a connector by custom arguments, which come back as fields of the event: `outbound_id` and
`outbound_batch`, else by `sg_template_id` (not in SendGrid's list of fields, but in what it sends); `user_id` too names
the person where it is sent along. A delayed bounce has no `sg_message_id`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, Payload, Problem, UnverifiedError
from feeds.fields import identifiers_of, require_text
from feeds.items import Item, gather, read_items
from feeds.signatures import check_time, header_of, wrong
from feeds.times import from_seconds

SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
TIME: Final = "x-twilio-email-event-webhook-timestamp"
#: SendGrid's event → ours. The others come in as `sendgrid.<event>`.
NAMES: Final = {
    "processed": "Email Sent",
    "delivered": "Email Delivered",
    "open": "Email Opened",
    "click": "Email Link Clicked",
    "bounce": "Email Bounced",
    "dropped": "Email Bounced",
    "spamreport": "Email Marked as Spam",
    "unsubscribe": "Email Unsubscribed",
    "group_unsubscribe": "Email Unsubscribed",
}
#: Fields that an audience may want to ask for.
_ASKED: Final = ("url", "reason", "type", "status", "sg_machine_open", "marketing_campaign_name")


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the ECDSA signature over time and body holds, and is fresh."""
    signature, time = header_of(payload, SIGNATURE), header_of(payload, TIME)
    try:
        key = load_der_public_key(base64.b64decode(secret, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        detail = "this feed's secret is not a verification key as SendGrid shows it (base64 of a public key)"
        raise UnverifiedError(Problem("", "wrong_secret", detail))
    try:
        key.verify(base64.b64decode(signature), time.encode() + payload.body, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise wrong(SIGNATURE) from None
    check_time(time, 1, payload)


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one delivery, a JSON list of events. Raises `FeedError`s."""
    return gather(read_items(payload.body), lambda item: _records(feed, item))


def _records(feed: str, item: Item) -> Iterator[Record]:
    said = item.said
    kind = require_text(said, "event", item.pointer)
    properties = {name: said[name] for name in _ASKED if name in said}
    yield Record(
        feed=feed,
        message_id=require_text(said, "sg_event_id", item.pointer),
        type="track",
        name=NAMES.get(kind, f"sendgrid.{kind}"),
        occurred_at=from_seconds(said.get("timestamp"), f"{item.pointer}/timestamp"),
        identifiers=identifiers_of((("user_id", said.get("user_id")), ("email", said.get("email")))),
        body=msgspec.Raw(item.raw),
        properties=properties | engagement(kind, said.get("sg_message_id"), said, said.get("sg_template_id")),
    )


FEED: Final = FeedFormat(verify, parse)
