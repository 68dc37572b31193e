"""The outcomes of a batch on their way back, as messages that are no larger than any NATS server takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
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

#: An outcome has less than 600 bytes, and NATS takes messages of 1 MiB unless it is told otherwise.
OUTCOMES_A_MESSAGE: Final = 1_000
AGAIN_S: Final = 1.0

log = structlog.get_logger("deliver")


def outcome_messages(connection: str, batch: str, outcomes: Sequence[Outcome]) -> list[Message]:
    """The messages for a batch's outcomes. The same batch always gives the same message ids."""
    messages = []
    for start in range(0, len(outcomes), OUTCOMES_A_MESSAGE):
        part = outcomes[start : start + OUTCOMES_A_MESSAGE]
        name = f"{batch}:outcome" + (f":{start // OUTCOMES_A_MESSAGE}" if start else "")
        headers = cloud_event(
            id=name,
            type="roundtrip.outcome",
            source="/roundtrip/delivery",
            subject=connection,
            msg_id=name,
        )
        messages.append(Message(f"roundtrip.outcome.{token(connection)}", msgspec.json.encode(part), headers))
    return messages


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
