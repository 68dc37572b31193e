"""ACME Till's receipts as webhooks: one JSON object a receipt, signed with HMAC-SHA256 in `X-Acme-Signature`."""

import hashlib
import hmac

import msgspec

from domain.records import Identifier, Record
from feeds.feed import FeedFormat, InvalidError, Payload, Problem, UnverifiedError
from feeds.reading import read_json
from feeds.times import parse_time


def verify(payload: Payload, secret: str) -> None:
    right = hmac.new(secret.encode(), payload.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right.encode(), payload.headers.get("x-acme-signature", "").encode()):
        raise UnverifiedError(Problem("", "wrong_signature", "X-Acme-Signature does not fit the body"))


def parse(feed: str, payload: Payload) -> list[Record]:
    said = read_json(payload.body)
    for name in ("receipt", "customer"):
        if not isinstance(said, dict) or not isinstance(said.get(name), str):
            raise InvalidError(Problem(f"/{name}", "not_text", f"text is expected in '{name}'"))
    return [
        Record(
            feed=feed,
            message_id=said["receipt"],
            type="track",
            name="Order Completed",
            occurred_at=parse_time(said.get("at"), "/at"),
            identifiers=(Identifier("user_id", said["customer"]),),
            body=msgspec.Raw(payload.body),
            properties_at="sale",
        )
    ]


FEED = FeedFormat(verify, parse)
