"""Records from NATS: `roundtrip.in.<feed>` into the log. A message is acknowledged after the commit.

What its feed's format refuses, or what fails as often as `DELIVERIES` times, goes into quarantine with its
reason; then it is acknowledged too, so that nothing behind it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from adapters.bus.consumer import open_incoming, reconnects
from adapters.bus.streams import ensure_streams
from adapters.quarantine import Quarantined
from domain.records import Entry, derive_id
from feeds.feed import FeedError, PartlyInvalidError, Payload
from runtime.admission import admit
from runtime.errors import TryAgainError
from runtime.ports import WorkspaceView
from runtime.set_aside import quarantined, set_aside

SUBJECT: Final = "roundtrip.in.*"
DURABLE: Final = "feeds"
FETCH: Final = 50
FETCH_WAIT_S: Final = 1.0
AGAIN_S: Final = 1.0
#: A message is delivered so often before it counts as poison.
DELIVERIES: Final = 5
#: A format's fault, a feed not yet declared: how long until the next delivery, in seconds.
PAUSE_S: Final = 1.0

log = structlog.get_logger("intake")


@dataclass(frozen=True, slots=True)
class Door:
    """What the intake needs of the rest. `append` and `put_aside` answer after the commit and raise
    `TryAgainError`s; `now` is the wall's time in microseconds."""

    append: Callable[[Sequence[Entry]], Awaitable[Any]]
    workspace: Callable[[], WorkspaceView]
    refresh: Callable[[], Awaitable[None]]
    put_aside: Callable[[Sequence[Quarantined]], Awaitable[None]]
    now: Callable[[], int]


class _Poison(Exception):
    """This message has no chance. The code is for programs, the reason for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def run_intake(js: JetStreamContext, door: Door, stop: asyncio.Event, replicas: int) -> None:
    """Takes messages in until `stop`. A NATS that is away, or has lost its streams, is waited for."""
    while not stop.is_set():
        try:
            await ensure_streams(js, replicas)
            await _consume(js, door, stop)
        except (NatsError, TimeoutError) as error:
            log.warning("nats is away", error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_S)


async def _consume(js: JetStreamContext, door: Door, stop: asyncio.Event) -> None:
    begun = reconnects(js)
    subscription = await open_incoming(js, DURABLE, SUBJECT)
    while not stop.is_set() and reconnects(js) == begun:
        try:
            messages = await subscription.fetch(FETCH, timeout=FETCH_WAIT_S)
        except TimeoutError:
            continue
        await asyncio.gather(*(_take(message, door) for message in messages))


async def _take(message: Msg, door: Door) -> None:
    tried = message.metadata.num_delivered
    try:
        try:
            # Looked at before it is read, as reading it may be what ends this process every time.
            if tried > DELIVERIES:
                raise _Poison("too_many_deliveries", f"not taken in by {DELIVERIES} deliveries")
            await door.append(await _entries(message, door))
        except _Poison as poison:
            if poison.code == "unknown_feed" and tried < DELIVERIES:
                await message.nak(delay=PAUSE_S)
                return
            await _put_aside(message, door, poison)
    except TryAgainError as error:
        await message.nak(delay=error.retry_after_s)
    except NatsError:
        raise
    except Exception as error:  # noqa: BLE001
        # A format of anyone's may raise anything; its text may hold personal data, so the kind is all we tell.
        log.error("format failed", subject=message.subject, error=type(error).__name__, delivery=tried)
        await message.nak(delay=PAUSE_S)
    else:
        await message.ack()


async def _entries(message: Msg, door: Door) -> list[Entry]:
    feed = message.subject.rpartition(".")[2]
    if feed not in door.workspace().parsers:
        await door.refresh()
    parse = door.workspace().parsers.get(feed)
    if parse is None:
        raise _Poison("unknown_feed", f"the workspace declares no feed '{feed}'")
    payload = Payload(_headers(message), message.data, door.now())
    try:
        records = parse(feed, payload)
    except PartlyInvalidError as error:
        bad = [quarantined(feed, one, payload.headers, payload.received_at) for one in error.refused]
        await set_aside(door.append, door.put_aside, bad)
        records = error.records
    except FeedError as error:
        [first, *_] = error.problems
        raise _Poison(first.code, f"{first.pointer or '/'}: {first.detail}") from None
    admitted = admit(door.workspace().plans, records, payload.received_at, door.workspace().rules)
    if admitted.aside:
        await door.put_aside(admitted.aside)
    return admitted.entries


async def _put_aside(message: Msg, door: Door, poison: _Poison) -> None:
    feed = message.subject.rpartition(".")[2]
    sequence = message.metadata.sequence.stream
    created = message.metadata.timestamp.isoformat()
    id = derive_id("quarantine", feed, str(sequence), created)
    item = Quarantined(id, feed, poison.code, poison.reason, _headers(message), message.data, door.now())
    await set_aside(door.append, door.put_aside, [item])


def _headers(message: Msg) -> dict[str, str]:
    return {name.lower(): value for name, value in (message.headers or {}).items()}
