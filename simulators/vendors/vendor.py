"""What a vendor's file has to say: how a call is answered, how one is refused, and what limits look like."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from simulators.vendors.held import Held


class Call(NamedTuple):
    """A request to a vendor. `path` begins with a slash and is without the vendor's own prefix; header names are
    in lower case; `now` is the wall's time in seconds."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    now: float


class Reply(NamedTuple):
    """`body` is written as JSON, text as it is, and `None` as no body at all."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class Refused(Exception):
    """The vendor refuses a call, which had no effect. `reason` is the counter it goes under."""

    def __init__(self, reason: str, reply: Reply) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply


class Vendor(NamedTuple):
    """`answer` takes a call with what the vendor holds and its secret, and raises `Refused`. `refuse` is the reply
    to a scripted fault: its status, and the vendor's own code where it has one. `limits` are the headers by which
    a vendor tells of its limit: how many calls, how many are left, and at what time (in seconds) it begins anew."""

    answer: Callable[[Call, Held, str], Reply]
    refuse: Callable[[int, int | None], Reply]
    limits: Callable[[int, int, float], Mapping[str, str]]


def no_limits(limit: int, remaining: int, reset: float) -> Mapping[str, str]:
    return {}


def same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())


def bearer(call: Call) -> str:
    """The token of `Authorization: Bearer …`; empty where there is none."""
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def basic(call: Call) -> tuple[str, str]:
    """User and password of `Authorization: Basic …`; both empty where there are none."""
    scheme, _, coded = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(coded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


def media_type(call: Call) -> str:
    return call.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_json(call: Call) -> Any:
    """The decoded body; `None` where it is no JSON."""
    try:
        return orjson.loads(call.body)
    except orjson.JSONDecodeError:
        return None
