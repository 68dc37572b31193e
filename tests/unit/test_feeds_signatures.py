"""Signatures: made by the vendors' own packages or vectors, taken while fresh, refused when anything differs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks.webhooks import Webhook
from stripe import WebhookSignature
from twilio.request_validator import RequestValidator

from feeds.feed import Payload, UnverifiedError, feed_format
from tests.unit.payloads import EXAMPLES, TWILIO

NOW_S = 1_764_000_000
SECRET = "a-secret-of-this-feed"
KEY = ec.generate_private_key(ec.SECP256R1())
SENDGRID_SECRET = base64.b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


class Signed(NamedTuple):
    """How one vendor signs: the secret, the headers at a time, and whether the time is part of it."""

    secret: str
    headers: Callable[[bytes, str, int], dict[str, str]]
    timed: bool = True


def stripe(body: bytes, url: str, at: int) -> dict[str, str]:
    signature = WebhookSignature._compute_signature(f"{at}.{body.decode()}", SECRET)
    return {"stripe-signature": f"t={at},v1=0000,v1={signature},v0=ffff"}


def twilio(body: bytes, url: str, at: int) -> dict[str, str]:
    form = dict(part.split("=") for part in body.decode().split("&"))
    values = {name: value.replace("%2B", "+") for name, value in form.items()}
    return {"x-twilio-signature": RequestValidator(SECRET).compute_signature(url, values)}


def twilio_shared_key(body: bytes, url: str, at: int) -> dict[str, str]:
    form = dict(part.split("=") for part in body.decode().split("&"))
    values = {name: value.replace("%2B", "+") for name, value in form.items()}
    return {
        "x-twilio-signature": RequestValidator(SECRET).compute_signature(url, values, "HMAC_SHA256"),
        "x-twilio-webhooks-signature-settings": "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256",
    }


def sendgrid(body: bytes, url: str, at: int) -> dict[str, str]:
    signature = base64.b64encode(KEY.sign(str(at).encode() + body, ec.ECDSA(SHA256()))).decode()
    return {
        "x-twilio-email-event-webhook-signature": signature,
        "x-twilio-email-event-webhook-timestamp": str(at),
    }


def shopify(body: bytes, url: str, at: int) -> dict[str, str]:
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
    return {"x-shopify-hmac-sha256": base64.b64encode(digest).decode()}


def hubspot(body: bytes, url: str, at: int) -> dict[str, str]:
    """As HubSpot's own examples do: method, address, body and time, one after the other."""
    source = f"POST{url}{body.decode()}{at * 1000}"
    digest = hmac.new(SECRET.encode(), source.encode(), hashlib.sha256).digest()
    return {
        "x-hubspot-signature-v3": base64.b64encode(digest).decode(),
        "x-hubspot-request-timestamp": str(at * 1000),
    }


def bearer(body: bytes, url: str, at: int) -> dict[str, str]:
    return {"authorization": f"Bearer {SECRET}"}


def basic(body: bytes, url: str, at: int) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(b"key:secret").decode()}


def onesignal(body: bytes, url: str, at: int) -> dict[str, str]:
    return {"x-roundtrip-secret": SECRET}


def standard(body: bytes, url: str, at: int) -> dict[str, str]:
    from datetime import UTC, datetime

    signature = Webhook(STANDARD_SECRET).sign("msg-1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": "msg-1", "webhook-timestamp": str(at), "webhook-signature": signature}


STANDARD_SECRET = "whsec_" + base64.b64encode(b"x" * 32).decode()
SIGNED: dict[str, Signed] = {
    "stripe": Signed(SECRET, stripe),
    "sendgrid": Signed(SENDGRID_SECRET, sendgrid),
    "hubspot": Signed(SECRET, hubspot),
    "standard_webhooks": Signed(STANDARD_SECRET, standard),
    "twilio": Signed(SECRET, twilio, timed=False),
    "shopify": Signed(SECRET, shopify, timed=False),
    "braze": Signed(SECRET, bearer, timed=False),
    "cloudevents": Signed(SECRET, bearer, timed=False),
    "mparticle": Signed("key:secret", basic, timed=False),
    "onesignal": Signed(SECRET, onesignal, timed=False),
}
#: These cover the body; the others are a secret that comes along.
OVER_BODY = ("stripe", "sendgrid", "hubspot", "standard_webhooks", "twilio", "shopify")


def check(name: str, *, at: int = NOW_S, secret: str = "", **changes: object) -> None:
    signed, example = SIGNED[name], EXAMPLES[name]
    headers = example.headers | signed.headers(example.body, example.url, at)
    values = {"headers": headers, "body": example.body, "url": example.url} | changes
    payload = Payload(**values, received_at=NOW_S * 1_000_000)  # type: ignore[arg-type]
    feed_format(name).verify(payload, secret or signed.secret)


def refused(name: str, **changes: object) -> str:
    with pytest.raises(UnverifiedError) as caught:
        check(name, **changes)  # type: ignore[arg-type]
    said = " ".join(problem.detail for problem in caught.value.problems)
    assert SIGNED[name].secret not in said
    return caught.value.problems[0].code


@pytest.mark.parametrize("name", SIGNED)
def test_what_the_vendor_signed_is_taken(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", SIGNED)
def test_nothing_without_a_signature_or_with_another_secret_is_taken(name: str) -> None:
    assert refused(name, headers=EXAMPLES[name].headers)
    other = (
        SENDGRID_OTHER
        if name == "sendgrid"
        else STANDARD_SECRET[:-4] + "AAA="
        if name == "standard_webhooks"
        else "other"
    )
    assert refused(name, secret=other)


SENDGRID_OTHER = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


@pytest.mark.parametrize("name", OVER_BODY)
def test_another_body_is_refused(name: str) -> None:
    body = EXAMPLES[name].body
    changed = body.replace(b"u-1", b"u-2").replace(b"undelivered", b"delivered").replace(b"1001", b"1002")
    changed = changed.replace(b'"objectId": 123', b'"objectId": 124')
    assert changed != body
    signed = SIGNED[name]
    headers = EXAMPLES[name].headers | signed.headers(body, EXAMPLES[name].url, NOW_S)
    assert refused(name, headers=headers, body=changed) == "wrong_signature"


@pytest.mark.parametrize("name", ["hubspot", "twilio"])
def test_another_address_is_refused(name: str) -> None:
    example = EXAMPLES[name]
    headers = example.headers | SIGNED[name].headers(example.body, example.url, NOW_S)
    assert (
        refused(name, headers=headers, url="https://elsewhere.example.com/v1/feeds/tool") == "wrong_signature"
    )


@pytest.mark.parametrize("name", [name for name, signed in SIGNED.items() if signed.timed])
@pytest.mark.parametrize("off", [-301, 301])
def test_five_minutes_later_or_earlier_it_may_be_a_copy(name: str, off: int) -> None:
    check(name, at=NOW_S + (300 if off > 0 else -300))
    assert refused(name, at=NOW_S + off)


def test_a_time_that_is_none_is_refused() -> None:
    example = EXAMPLES["hubspot"]
    for time_said in ("", "x", "-1", "9" * 30, "１"):
        source = f"POST{example.url}{example.body.decode()}{time_said}".encode()
        digest = hmac.new(SECRET.encode(), source, hashlib.sha256).digest()
        headers = {
            "x-hubspot-signature-v3": base64.b64encode(digest).decode(),
            "x-hubspot-request-timestamp": time_said,
        }
        assert refused("hubspot", headers=headers)


def test_the_vector_that_sendgrid_publishes() -> None:
    """From the tests of SendGrid's public packages; its signature holds, and is of 2020."""
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEDr2LjtURuePQzplybdC+u4CwrqDqBaWjcMMsTbhdbcwHBcepxo7yAQGhHPTnlvFYPAZFce"
        "Eu/1FwCM/QmGUhA=="
    )
    headers = {
        "x-twilio-email-event-webhook-signature": "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6"
        "BpSzoQsbVRamr2nlxFDWYNH2j/0=",
        "x-twilio-email-event-webhook-timestamp": "1588788367",
    }
    said = {"category": "example_payload", "event": "test_event", "message_id": "message_id"}
    body = json.dumps(said, separators=(",", ":")).encode()
    verify = feed_format("sendgrid").verify
    verify(Payload(headers, body, 1_588_788_367_000_000), key)
    with pytest.raises(UnverifiedError, match="seconds of now"):
        verify(Payload(headers, body, NOW_S * 1_000_000), key)
    with pytest.raises(UnverifiedError, match="does not fit"):
        verify(Payload(headers, body + b" ", 1_588_788_367_000_000), key)


def test_twilio_takes_the_other_hash_the_port_and_a_body_that_is_no_form() -> None:
    example, now = TWILIO, NOW_S * 1_000_000
    verify = feed_format("twilio").verify
    verify(Payload(twilio_shared_key(example.body, example.url, 0), example.body, now, example.url), SECRET)
    with_port = example.url.replace("example.com", "example.com:443")
    verify(Payload(twilio(example.body, with_port, 0), example.body, now, example.url), SECRET)
    body = b'{"MessageSid": "SM1", "MessageStatus": "sent"}'
    url = f"https://cdp.example.com/v1/feeds/tool?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {"x-twilio-signature": RequestValidator(SECRET).compute_signature(url, {})}
    verify(Payload(headers, body, now, url), SECRET)
    with pytest.raises(UnverifiedError, match="bodySHA256"):
        verify(Payload(headers, body + b" ", now, url), SECRET)
    unknown = headers | {"x-twilio-webhooks-signature-settings": "algorithm=MD5"}
    with pytest.raises(UnverifiedError):
        verify(Payload(unknown, body, now, url), SECRET)


def test_a_secret_that_is_no_key_is_said_to_be_none() -> None:
    assert refused("sendgrid", secret="not a key") == "wrong_secret"


def test_nobody_can_send_as_airship() -> None:
    with pytest.raises(UnverifiedError):
        feed_format("airship").verify(Payload({}, b"{}", 0), SECRET)


def test_cloudevents_may_carry_the_token_in_the_address() -> None:
    verify = feed_format("cloudevents").verify
    verify(Payload({}, b"", 0, f"https://x/v1/feeds/f?access_token={SECRET}"), SECRET)
    with pytest.raises(UnverifiedError):
        verify(Payload({}, b"", 0, "https://x/v1/feeds/f?access_token="), SECRET)
