"""The outcomes of a batch on their way back, as messages that any NATS server takes: of at most 1 MiB."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import structlog
from nats.js import JetStreamContext

from adapters.bus.cloud_event import cloud_event
from adapters.bus.errors import PublishError
from adapters.bus.publish import Message, publish_batch
from adapters.bus.subject import token
from domain.outbound import Outcome
from runtime.delivery.errors import StoppedError

#: An outcome has less than 600 bytes, unless it says what a transformation made.
OUTCOMES_A_MESSAGE: Final = 1_000
BYTES_A_MESSAGE: Final = 600_000
AGAIN_S: Final = 1.0

log = structlog.get_logger("deliver")


def outcome_messages(connection: str, batch: str, outcomes: Sequence[Outcome]) -> list[Message]:
    """The messages for a batch's outcomes. The same part of a batch always has the same message id."""
    messages = []
    for start, end, data in _parts(outcomes):
        name = f"{batch}:outcome" + (f":{start}-{end}" if end - start < len(outcomes) else "")
        headers = cloud_event(
            id=name,
            type="roundtrip.outcome",
            source="/roundtrip/delivery",
            subject=connection,
            msg_id=name,
        )
        messages.append(Message(f"roundtrip.outcome.{token(connection)}", data, headers))
    return messages


def _parts(outcomes: Sequence[Outcome]) -> Iterator[tuple[int, int, bytes]]:
    """From which to which outcome, and those in JSON. One that is large by itself is alone."""
    start, size, held = 0, 0, list[bytes]()
    for index, outcome in enumerate(outcomes):
        encoded = msgspec.json.encode(outcome)
        if held and (len(held) == OUTCOMES_A_MESSAGE or size + len(encoded) > BYTES_A_MESSAGE):
            yield start, index, b"[" + b",".join(held) + b"]"
            start, size, held = index, 0, []
        size += len(encoded) + 1
        held.append(encoded)
    if held:
        yield start, len(outcomes), b"[" + b",".join(held) + b"]"


async def publish_outcomes(
    js: JetStreamContext, connection: str, batch: str, outcomes: Sequence[Outcome], stop: asyncio.Event
) -> None:
    """Publishes until NATS has acknowledged all. Raises `StoppedError` when `stop` comes first."""
    messages = outcome_messages(connection, batch, outcomes)
    while True:
        try:
            return await publish_batch(js, messages)
        except PublishError as error:
            log.warning("outcomes not acknowledged", connection=connection, batch=batch, reason=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), AGAIN_S)
            raise StoppedError
