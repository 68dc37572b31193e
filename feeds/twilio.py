"""Twilio's status callbacks and incoming messages: what became of each SMS, and what people write back.

Sources: twilio.com/docs/usage/security (signature), twilio.com/docs/messaging/guides/track-outbound-message-status
(fields); the public `twilio` package's RequestValidator, by which this is tested. The signature covers the address
that Twilio called, so set ROUNDTRIP_PUBLIC_URL where a proxy stands before Roundtrip; it covers no time, so that
nothing is taken in twice rests on the message's id and status. Bodies are forms: the record's body is the form as
a JSON object. A callback tells no time either: it happened when it came.

Pairs with a connector by the address: `StatusCallback=https://…/v1/feeds/<feed>?outbound_id=…&outbound_batch=…`;
`user_id` may stand there as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, parse_qsl

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import FeedFormat, InvalidError, MalformedError, Payload, Problem
from feeds.fields import identifiers_of, require_text
from feeds.items import read_object
from feeds.signatures import base64_of, equal, header_of, parts_of, wrong

SIGNATURE: Final = "x-twilio-signature"
#: Which hash it is, where the webhook is signed with a shared key in place of the account's token.
SETTINGS: Final = "x-twilio-webhooks-signature-settings"
FORM: Final = "application/x-www-form-urlencoded"
FIELDS_LIMIT: Final = 1_000
#: Twilio's status → our event. Others come in as `twilio.<status>`.
NAMES: Final = {
    "sent": "SMS Sent",
    "delivered": "SMS Delivered",
    "undelivered": "SMS Bounced",
    "failed": "SMS Bounced",
    "received": "SMS Received",
}
_HASHES: Final = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the signature fits the address and the form."""
    given = header_of(payload, SIGNATURE)
    settings = dict(part.strip().partition("=")[::2] for part in payload.headers.get(SETTINGS, "").split(","))
    algorithm = _HASHES.get(settings.get("algorithm", "HMAC_SHA1").upper())
    if algorithm is None:
        raise wrong("X-Twilio-Signature")
    query = parse_qs(parts_of(payload.url).query)
    if "bodySHA256" in query:
        signed = ""
        if not equal(hashlib.sha256(payload.body).hexdigest(), query["bodySHA256"][0].lower()):
            raise wrong("bodySHA256")
    else:
        try:
            form = sorted(set(_form(payload.body)))
        except MalformedError:
            # Nobody signed what is no form.
            raise wrong("X-Twilio-Signature") from None
        signed = "".join(name + value for name, value in form)
    for url in _ways(payload.url):
        digest = hmac.new(
            secret.encode(), (url + signed).encode("utf-8", "surrogatepass"), algorithm
        ).digest()
        if equal(base64_of(digest), given):
            return
    raise wrong("X-Twilio-Signature")


def _ways(url: str) -> tuple[str, str]:
    """The address without and with its port: Twilio signs either."""
    parts = parts_of(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts._replace(netloc=host).geturl(), parts._replace(netloc=f"{host}:{port}").geturl()


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The record of one callback. Raises `FeedError`s."""
    if payload.headers.get("content-type", "").partition(";")[0].strip().lower() in ("", FORM):
        said, raw = _object(payload.body)
    else:
        item = read_object(payload.body)
        said, raw = item.said, item.raw
    message_id = require_text(said, "MessageSid" if "MessageSid" in said else "SmsSid", "")
    kind = require_text(said, "MessageStatus" if "MessageStatus" in said else "SmsStatus", "")
    sent = dict(parse_qsl(parts_of(payload.url).query))
    properties = {"error_code": said["ErrorCode"]} if said.get("ErrorCode") else {}
    return [
        Record(
            feed=feed,
            message_id=f"{message_id}:{kind}",
            type="track",
            name=NAMES.get(kind, f"twilio.{kind}"),
            occurred_at=payload.received_at,
            identifiers=identifiers_of(_claims(kind, said, sent)),
            body=msgspec.Raw(raw),
            properties=properties | engagement(kind, message_id, sent),
        )
    ]


def _claims(kind: str, said: dict[str, Any], sent: dict[str, str]) -> Iterator[tuple[str | None, Any]]:
    yield "user_id", sent.get("user_id")
    number = said.get("From" if kind in ("received", "receiving") else "To")
    if isinstance(number, str):
        # Other channels stand before the number, as in whatsapp:+49…
        yield "phone", number.rpartition(":")[2]


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
    except (UnicodeDecodeError, ValueError):
        raise MalformedError(
            Problem("", "malformed_form", "the body is not a form as it should be")
        ) from None


def _object(body: bytes) -> tuple[dict[str, Any], bytes]:
    found: dict[str, Any] = {}
    for name, value in _form(body):
        if "\0" in name or "\0" in value:
            raise InvalidError(Problem("", "nul_character", "text may not contain U+0000"))
        # A name that stands there again makes a list of its values.
        held = found.get(name)
        found[name] = value if held is None else [*(held if isinstance(held, list) else [held]), value]
    if not found:
        raise MalformedError(Problem("", "empty_body", "the body is empty; a form is expected"))
    return found, msgspec.json.encode(found)


FEED: Final = FeedFormat(verify, parse, frozenset({"", FORM, "application/json"}))
