"""What a vendor's file has to say: how a call is answered, how one is refused, what limits look like, and what its
webhook tells."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

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


class Telling(NamedTuple):
    """A webhook's request, and the keys of the `UNTOLD` that it tells."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    keys: tuple[str, ...]


#: The collection of what a webhook is still to be told, in order.
UNTOLD: Final = "untold"


class Vendor(NamedTuple):
    """`answer` takes a call with what the vendor holds and its secret, and raises `Refused`. `refuse` is the reply
    to a scripted fault: its status, and the vendor's own code where it has one. `limits` are the headers by which
    a vendor tells of its limit: how many calls, how many are left, and at what time (in seconds) it begins anew.

    `tell` gives the next request to a webhook, by what is held, the secret and the wall's time in seconds; `None`
    where there is nothing to tell. `controls` are further endpoints below `/simulate/`: each takes the body of a
    POST with what is held and gives an answer. They raise `ValueError` saying what is wrong with the body.
    """

    answer: Callable[[Call, Held, str], Reply]
    refuse: Callable[[int, int | None], Reply]
    limits: Callable[[int, int, float], Mapping[str, str]]
    tell: Callable[[Held, str, float], Telling | None] | None = None
    controls: Mapping[str, Callable[[Any, Held], Any]] = {}


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
