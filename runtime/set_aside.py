"""Putting a payload into quarantine: kept whole in a table, told without it in the log."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog

from adapters.quarantine import Quarantined
from domain.messages import PutAside
from domain.records import Entry, derive_id
from domain.set_aside import entry_of_aside
from feeds.feed import Refused

#: Headers that a payload is read by, and that carry no secret. The others are not kept.
_KEPT: Final = (
    "content-type",
    "ce-",
    "webhook-id",
    "x-shopify-topic",
    "x-shopify-webhook-id",
    "x-shopify-trig",
)

log = structlog.get_logger("quarantine")


def told_of(item: Quarantined) -> Entry:
    """What the log says of it: by the id it is found, and nothing of a person's is told."""
    return entry_of_aside(PutAside(item.id, item.feed, item.code, item.reason))


async def set_aside(
    append: Callable[[Sequence[Entry]], Awaitable[Any]],
    put_aside: Callable[[Sequence[Quarantined]], Awaitable[None]],
    items: Sequence[Quarantined],
) -> None:
    """Keeps them, then tells the log. Raises `TryAgainError`s; doing it again changes nothing."""
    await put_aside(items)
    await append([told_of(item) for item in items])
    for item in items:
        log.error("put into quarantine", feed=item.feed, id=item.id, code=item.code)


def quarantined(feed: str, one: Refused, headers: Mapping[str, str], received_at: int) -> Quarantined:
    """An item that a format refused. The same bytes of the same feed are the same item."""
    [first, *_] = one.problems
    id = derive_id("quarantine", feed, hashlib.sha256(one.raw).hexdigest())
    kept = {name: value for name, value in headers.items() if name.startswith(_KEPT)}
    reason = f"{first.pointer or '/'}: {first.detail}"
    return Quarantined(id, feed, first.code, reason, kept, one.raw, received_at)
