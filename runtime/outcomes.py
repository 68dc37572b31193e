"""Delivery outcomes on their way back: from NATS into the log. A message is acknowledged after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from sqlalchemy import Engine

from adapters.bus.consumer import open_incoming, reconnects
from adapters.bus.streams import ensure_streams
from adapters.database import STORE_ERRORS, kind_of
from domain.outbound import OUTCOME_VERSION, Outcome
from domain.records import Entry
from runtime.errors import Overloaded, StoreUnavailable
from runtime.transformed import append_transformed

SUBJECT: Final = "roundtrip.outcome.*"
DURABLE: Final = "outcomes"
FETCH: Final = 50
FETCH_WAIT_S: Final = 1.0
AGAIN_S: Final = 1

Append = Callable[[Sequence[Entry]], Awaitable[Any]]

_decode = msgspec.json.Decoder(list[Outcome]).decode
_encode = msgspec.json.Encoder().encode
log = structlog.get_logger("outcomes")


def entries_of(outcomes: Sequence[Outcome]) -> list[Entry]:
    """Each outcome closes its outbound record's stream: a second one is a duplicate and changes nothing."""
    return [
        Entry(outcome.id, OUTCOME_VERSION, f"outbound.{outcome.status}", None, _encode(_bare(outcome)))
        for outcome in outcomes
    ]


def _bare(outcome: Outcome) -> Outcome:
    """Without what was sent, which is somebody's; an outcome is nobody's."""
    return outcome if outcome.transformed is None else msgspec.structs.replace(outcome, transformed=None)


async def run_outcomes(
    js: JetStreamContext, append: Append, engine: Engine, stop: asyncio.Event, replicas: int
) -> None:
    """Takes outcomes in until `stop`. A NATS that is away, or has lost its streams, is waited for."""
    while not stop.is_set():
        try:
            await ensure_streams(js, replicas)
            await _consume(js, append, engine, stop)
        except (NatsError, TimeoutError) as error:
            log.warning("nats is away", error=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), AGAIN_S)


async def _consume(js: JetStreamContext, append: Append, engine: Engine, stop: asyncio.Event) -> None:
    begun = reconnects(js)
    subscription = await open_incoming(js, DURABLE, SUBJECT)
    while not stop.is_set() and reconnects(js) == begun:
        try:
            messages = await subscription.fetch(FETCH, timeout=FETCH_WAIT_S)
        except TimeoutError:
            continue
        await _take_in(messages, append, engine)


async def _take_in(messages: Sequence[Msg], append: Append, engine: Engine) -> None:
    outcomes: list[Outcome] = []
    readable = []
    for message in messages:
        try:
            outcomes += _decode(message.data)
            readable.append(message)
        except msgspec.DecodeError as error:
            log.error("outcome refused", subject=message.subject, error=str(error))
            await message.term()
    entries = entries_of(outcomes)
    try:
        if any(one.transformed is not None for one in outcomes):
            await _with_what_was_sent(engine, outcomes, entries)
        else:
            await append(entries)
    except (Overloaded, StoreUnavailable) as error:
        for message in readable:
            await message.nak(delay=error.retry_after_s)
        return
    for message in readable:
        await message.ack()


async def _with_what_was_sent(engine: Engine, outcomes: Sequence[Outcome], entries: Sequence[Entry]) -> None:
    try:
        await asyncio.to_thread(append_transformed, engine, outcomes, entries)
    except STORE_ERRORS as error:
        log.warning("append failed", error=kind_of(error), entries=len(entries))
        raise StoreUnavailable(AGAIN_S) from error
