"""Standard Webhooks: the door for every tool that has no format of its own here.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. The payload has a `type`,
a `timestamp` and `data`; the person is named in `data` by `user_id`, `anonymous_id`, `email` or `phone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.records import Identifier, Record
from feeds.feed import FeedFormat, InvalidError, MalformedError, Payload, Problem, UnverifiedError
from feeds.reading import read_json
from feeds.times import parse_time

IDENTIFIERS: Final = ("user_id", "anonymous_id", "email", "phone")


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless one of the signatures is right and its time within five minutes."""
    try:
        Webhook(secret).verify(payload.body, dict(payload.headers))
    except (WebhookVerificationError, ValueError) as error:
        raise UnverifiedError(
            Problem("", "wrong_signature", f"the Standard Webhooks signature does not hold: {error}")
        ) from None


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The record of one webhook. Raises `MalformedError` or `InvalidError`."""
    if not payload.body.strip():
        raise MalformedError(Problem("", "empty_body", "the body is empty; a webhook's payload is expected"))
    said = read_json(payload.body)
    if not isinstance(said, dict):
        raise InvalidError(
            Problem("", "not_an_object", "an object with type, timestamp and data is expected")
        )
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
            message_id=payload.headers["webhook-id"],
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
