"""Many messages to JetStream in one go, one behind the other, and their acknowledgements awaited together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import Header, PubAck

from adapters.bus.errors import PublishError, Unacknowledged

WINDOW_MESSAGES: Final = 1_000
WINDOW_BYTES: Final = 16 * 1024 * 1024
ACK_WITHIN_S: Final = 10.0


class Message(NamedTuple):
    """One message. Its headers name it (`Nats-Msg-Id`), so that publishing it again has no second effect."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]


async def publish_batch(
    js: JetStreamContext, messages: Sequence[Message], ack_within_s: float = ACK_WITHIN_S
) -> None:
    """Publishes all, in this order; returns once every one is acknowledged.

    At most `WINDOW_MESSAGES` and about `WINDOW_BYTES` are on their way at a time. Raises `PublishError`
    naming what was not acknowledged; nothing after the window in which that happened was sent.
    """
    start = 0
    while start < len(messages):
        end, size = start, 0
        while end < len(messages) and end - start < WINDOW_MESSAGES and size < WINDOW_BYTES:
            size += len(messages[end].payload)
            end += 1
        if failed := await _publish_window(js, messages[start:end], ack_within_s):
            raise PublishError(failed, len(messages))
        start = end


async def _publish_window(
    js: JetStreamContext, messages: Sequence[Message], ack_within_s: float
) -> list[Unacknowledged]:
    sent: list[asyncio.Future[PubAck]] = []
    refused = ""
    try:
        for message in messages:
            try:
                sent.append(
                    await js.publish_async(
                        message.subject,
                        message.payload,
                        wait_stall=ack_within_s,
                        headers=dict(message.headers),
                    )
                )
            except NatsError as error:
                refused = _reason(error)
                break
        if sent:
            await asyncio.wait(sent, timeout=ack_within_s)
    finally:
        # Gives the places in the client's own window back.
        late = [future.cancel() for future in sent]
    failed = []
    for index, message in enumerate(messages):
        if index >= len(sent):
            reason = refused if index == len(sent) else "not sent, as one before it was refused"
        elif late[index]:
            reason = f"no answer within {ack_within_s:g} s"
        else:
            fault = sent[index].exception()
            if fault is None:
                continue
            reason = _reason(fault)
        failed.append(Unacknowledged(message.subject, message.headers.get(Header.MSG_ID.value, ""), reason))
    return failed


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
