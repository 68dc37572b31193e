"""Many messages to JetStream in one go, one behind the other, and their acknowledgements awaited together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import Header

from adapters.bus.errors import PublishError, Unacknowledged

WINDOW_MESSAGES: Final = 1_000
WINDOW_BYTES: Final = 16 * 1024 * 1024
ACK_WITHIN_S: Final = 10.0
#: The header of an outbound batch that may have been on the bus before, under whatever message id.
RESENT: Final = "roundtrip-resent"


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
    """A JetStream publish is a message with a reply subject. Each message's reply comes on a subject of its
    own below one inbox: nats-py's `publish_async` does the same at six times the processor time."""
    client: Client = js._nc
    inbox = client.new_inbox()
    said: dict[int, str] = {}
    every = asyncio.Event()
    sent = 0
    refused = ""

    async def on_reply(reply: Msg) -> None:
        said[int(reply.subject.rpartition(".")[2])] = _fault(reply)
        if len(said) == sent:
            every.set()

    subscription = await client.subscribe(f"{inbox}.*", cb=on_reply)
    try:
        for index, message in enumerate(messages):
            try:
                await client.publish(
                    message.subject,
                    message.payload,
                    reply=f"{inbox}.{index}",
                    headers=dict(message.headers),
                )
            except NatsError as error:
                refused = str(error) or type(error).__name__
                break
            sent += 1
        if len(said) < sent:
            every.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(every.wait(), ack_within_s)
    finally:
        with suppress(NatsError):
            await subscription.unsubscribe()
    failed = []
    for index, message in enumerate(messages):
        if index >= sent:
            reason = refused if index == sent else "not sent, as one before it was refused"
        else:
            reason = said.get(index, f"no answer within {ack_within_s:g} s")
        if reason:
            failed.append(
                Unacknowledged(message.subject, message.headers.get(Header.MSG_ID.value, ""), reason)
            )
    return failed


def _fault(reply: Msg) -> str:
    """Why a message was not taken; empty where it was."""
    if reply.headers and reply.headers.get("Status") == "503":
        return "no stream takes this subject"
    ack = msgspec.json.decode(reply.data, type=_Ack)
    return ack.error.description if ack.error is not None else ""


class _Error(msgspec.Struct):
    description: str = "refused without a reason"


class _Ack(msgspec.Struct):
    error: _Error | None = None
