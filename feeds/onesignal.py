"""OneSignal's Event Streams: what became of each push, as webhooks.

Source: documentation.onesignal.com/docs/event-streams and .../event-streams-data. Event Streams have no
signature; the customer sets headers of his own, and ours carries the secret: `X-Roundtrip-Secret`. The body
is a template of the customer's too; ours is in docs/how-to/connect-onesignal.md: one object, or a list of
objects, with `event` and `message` under OneSignal's names.

Pairs with `adapters/connectors/onesignal.py` by `message.name` (our batch, which the connector gives the
notification as its name) and `event.external_id` (the person): together they are one outbound record. That
a notification's own `data` comes back as well could not be confirmed; where it does, it serves the same end.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from domain.records import Identifier, Record
from feeds.feed import FeedFormat, InvalidError, MalformedError, Payload, Problem, UnverifiedError
from feeds.reading import read_json
from feeds.times import from_seconds

HEADER: Final = "x-roundtrip-secret"
EVENTS_LIMIT: Final = 1_000
#: OneSignal's kind → our event. What is not here is none of a push's engagement, and is passed over.
NAMES: Final = {
    "message.push.sent": "Push Sent",
    "message.push.received": "Push Delivered",
    "message.push.clicked": "Push Opened",
    "message.push.failed": "Push Bounced",
    "message.push.unsubscribed": "Push Unsubscribed",
}


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the header carries the feed's secret."""
    if not hmac.compare_digest(payload.headers.get(HEADER, "").encode(), secret.encode()):
        raise UnverifiedError(
            Problem("", "wrong_secret", f"the header {HEADER} does not carry this feed's secret")
        )


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one webhook call. Raises `MalformedError` or `InvalidError`."""
    if not payload.body.strip():
        raise MalformedError(Problem("", "empty_body", "the body is empty; an event is expected"))
    said = read_json(payload.body)
    several = isinstance(said, list)
    items = said if isinstance(said, list) else [said]
    if len(items) > EVENTS_LIMIT:
        raise InvalidError(Problem("", "too_many_events", f"at most {EVENTS_LIMIT} events are taken at once"))
    found = (_record(feed, item, f"/{i}" if several else "") for i, item in enumerate(items))
    return [record for record in found if record is not None]


def _record(feed: str, item: Any, pointer: str) -> Record | None:
    event = item.get("event") if isinstance(item, dict) else None
    if not isinstance(event, dict):
        raise InvalidError(Problem(f"{pointer}/event", "no_event", "an object 'event' is expected here"))
    name = NAMES.get(_text(event, "kind", pointer))
    if name is None:
        return None
    message = item.get("message")
    named = message if isinstance(message, dict) else {}
    data = event.get("data")
    batch = named.get("name") or (data.get("outbound_batch") if isinstance(data, dict) else None)
    properties = {
        "message_id": named.get("id"),
        "outbound_batch": batch,
        "vendor_kind": event["kind"],
    }
    return Record(
        feed=feed,
        message_id=_text(event, "id", pointer),
        type="track",
        name=name,
        occurred_at=from_seconds(event.get("timestamp"), f"{pointer}/event/timestamp"),
        identifiers=_identifiers(event, pointer),
        body=msgspec.Raw(msgspec.json.encode(item)),
        properties={key: value for key, value in properties.items() if value is not None},
    )


def _identifiers(event: dict[str, Any], pointer: str) -> tuple[Identifier, ...]:
    kinds = (("user_id", "external_id"), ("onesignal_id", "onesignal_id"))
    found = tuple(Identifier(ours, event[theirs]) for ours, theirs in kinds if _is_id(event.get(theirs)))
    if not found:
        raise InvalidError(
            Problem(
                f"{pointer}/event/external_id",
                "no_identifier",
                "an external_id or a onesignal_id is expected",
            )
        )
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512 and "\x1f" not in value


def _text(event: dict[str, Any], name: str, pointer: str) -> str:
    value = event.get(name)
    if not _is_id(value):
        raise InvalidError(Problem(f"{pointer}/event/{name}", "not_text", f"text is expected in '{name}'"))
    assert isinstance(value, str)
    return value


FEED: Final = FeedFormat(verify, parse)
