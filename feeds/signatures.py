"""What webhooks' signatures have in common: comparing in constant time, and how old one may be."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final
from urllib.parse import SplitResult, urlsplit

from feeds.feed import Payload, Problem, UnverifiedError

#: A signature's time may be so far off, either way, in seconds: later on it may be somebody's copy.
TOLERANCE_S: Final = 300


def header_of(payload: Payload, name: str) -> str:
    """A header that has to be there. Raises `UnverifiedError`."""
    value = payload.headers.get(name)
    if not value:
        raise UnverifiedError(Problem("", "no_signature", f"the header {name} is missing"))
    return value


def check_time(value: str, per_second: int, payload: Payload) -> None:
    """Refuses a time that was not just now. `value` counts since the epoch, `per_second` to the second."""
    at = int(value) / per_second if value.isascii() and value.isdigit() and len(value) < 20 else -1.0
    if abs(payload.received_at / 1_000_000 - at) > TOLERANCE_S:
        detail = f"the signature's time is not within {TOLERANCE_S} seconds of now; check the sender's clock"
        raise UnverifiedError(Problem("", "stale_signature", detail))


def check_equal(right: str, given: str, name: str) -> None:
    """Refuses what was given where it is not right. Raises `UnverifiedError`."""
    if not equal(right, given):
        raise wrong(name)


def equal(right: str, given: str) -> bool:
    """Takes as long whether or not they are."""
    return hmac.compare_digest(right.encode(), given.encode("utf-8", "surrogateescape"))


def wrong(name: str) -> UnverifiedError:
    detail = f"{name} does not fit the request and this feed's secret"
    return UnverifiedError(Problem("", "wrong_signature", detail))


def check_bearer(payload: Payload, secret: str) -> None:
    """Refuses a request that does not carry `Authorization: Bearer <secret>` (RFC 6750)."""
    scheme, _, token = payload.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not equal(secret, token.strip()):
        raise UnverifiedError(
            Problem("", "wrong_token", "the header Authorization does not carry this feed's secret as Bearer")
        )


def parts_of(url: str) -> SplitResult:
    """The parts of the address that was called. Raises `UnverifiedError` where it is none: its host is what the
    sender said it is."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise UnverifiedError(Problem("", "wrong_address", "the header Host is no address")) from None
    return parts


def hmac_sha256(secret: str, *parts: bytes) -> bytes:
    return hmac.new(secret.encode(), b"".join(parts), hashlib.sha256).digest()


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
