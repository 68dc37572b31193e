"""Standard Webhooks: the door for every tool that has no format of its own here.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. The payload has a `type`,
a `timestamp` and `data`; the person is named in `data` by `user_id`, `anonymous_id`, `email` or `phone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from domain.records import Identifier, Record
from feeds.feed import FeedFormat, InvalidError, Payload, Problem
from feeds.fields import digest_of, text_of
from feeds.items import read_object
from feeds.signatures import check_time, equal, header_of, wrong
from feeds.times import parse_time

IDENTIFIERS: Final = ("user_id", "anonymous_id", "email", "phone")


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless one of the signatures is right and its time within five minutes."""
    id, time, given = (header_of(payload, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    check_time(time, 1, payload)
    try:
        # Signed anew by the library; its own check would ask the wall's clock.
        right = Webhook(secret).sign(id, datetime.fromtimestamp(int(time), UTC), payload.body.decode())
    except (ValueError, EmptyWebhookSecretError):
        raise wrong("webhook-signature") from None
    if not any(equal(right, one) for one in given.split()):
        raise wrong("webhook-signature")


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The record of one webhook. Raises `MalformedError` or `InvalidError`."""
    said = read_object(payload.body).said
    name, data = said.get("type"), said.get("data")
    if not isinstance(name, str) or not 0 < len(name) <= 512:
        raise InvalidError(Problem("/type", "not_text", "text is expected in 'type'"))
    if not isinstance(data, dict):
        raise InvalidError(Problem("/data", "not_an_object", "an object is expected in 'data'"))
    occurred_at = payload.received_at
    if said.get("timestamp") is not None:
        occurred_at = parse_time(said["timestamp"], "/timestamp")
    return [
        Record(
            feed=feed,
            message_id=text_of(payload.headers.get("webhook-id")) or digest_of(payload.body),
            type="track",
            name=name,
            occurred_at=occurred_at,
            identifiers=_identifiers(data),
            body=msgspec.Raw(payload.body),
            properties_at="data",
        )
    ]


def _identifiers(data: dict[str, Any]) -> tuple[Identifier, ...]:
    found = tuple(
        Identifier(kind, data[kind])
        for kind in IDENTIFIERS
        if isinstance(data.get(kind), str) and 0 < len(data[kind]) <= 512 and "\x1f" not in data[kind]
    )
    if not found:
        raise InvalidError(
            Problem("/data", "no_identifier", f"'data' names a person by one of {', '.join(IDENTIFIERS)}")
        )
    return found


FEED: Final = FeedFormat(verify, parse)
