"""Tells the app's webhook what has changed, signed as HubSpot signs (v3): again and again until it is taken.

By `trouble`, as HubSpot warns of: `late` repeats events and turns their order round, `lost` tells nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import httpx2
import orjson
from starlette.concurrency import run_in_threadpool

from simulators.crm.contacts import VENDOR
from simulators.state import State, get
from simulators.vendors.held import Held

TROUBLES: Final = ("", "late", "lost")
#: Events of one request, as HubSpot's.
BATCH: Final = 100
_PAUSE_S: Final = 0.05


class Webhook(NamedTuple):
    """Where changes are told; `trouble` is one of `TROUBLES`."""

    url: str
    trouble: str = ""


def signed(url: str, body: bytes, secret: str, now: float) -> dict[str, str]:
    """The headers of a request, with its v3 signature."""
    at = str(int(now * 1000))
    digest = hmac.new(secret.encode(), b"POST" + url.encode() + body + at.encode(), hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "x-hubspot-request-timestamp": at,
        "x-hubspot-signature-v3": base64.b64encode(digest).decode(),
    }


def webhook_of(state: State) -> Webhook | None:
    """`None` where nobody is told."""
    with state.reading() as db:
        said = get(db, "webhook")
    return None if said is None else Webhook(**orjson.loads(said))


async def tell(state: State, secret: str) -> None:
    """Until cancelled."""
    async with httpx2.AsyncClient(timeout=30.0, trust_env=False) as client:
        while True:
            webhook = await run_in_threadpool(webhook_of, state)
            events = await run_in_threadpool(_waiting, state)
            if webhook is None or not events or not await _taken(client, webhook, secret, events):
                await asyncio.sleep(_PAUSE_S)
            else:
                await run_in_threadpool(_done, state, events)


async def _taken(
    client: httpx2.AsyncClient, webhook: Webhook, secret: str, events: Mapping[str, Any]
) -> bool:
    if webhook.trouble == "lost":
        return True
    told: Sequence[Any] = list(events.values())
    if webhook.trouble == "late":
        told = [*told[::-1], *({**event, "attemptNumber": 1} for event in told)]
    body = orjson.dumps(told)
    try:
        headers = signed(webhook.url, body, secret, time.time())
        answer = await client.post(webhook.url, content=body, headers=headers)
    except httpx2.HTTPError:
        return False
    return answer.is_success


def _waiting(state: State) -> dict[str, Any]:
    with state.reading() as db:
        return dict(list(Held(db, VENDOR).all("events").items())[:BATCH])


def _done(state: State, events: Mapping[str, Any]) -> None:
    with state.transaction() as db:
        for key in events:
            Held(db, VENDOR).drop("events", key)
