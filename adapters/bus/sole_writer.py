"""Publishing to a stream that has one writer: only the last message of a run asks for an acknowledgement.

JetStream numbers what it stores without a gap. When the last message has the number it must have, every
message before it is stored. When it has not (a duplicate, a loss, another writer), the whole run is
published again with an acknowledgement each, which its message ids make safe.
"""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from adapters.bus.publish import ACK_WITHIN_S, Message, publish_batch

#: JetStream refuses what waits beyond 10,000 messages for being stored.
RUN_MESSAGES = 2_000


class SoleWriter:
    """The one writer of a stream. A second one costs speed, never a message."""

    def __init__(self, js: JetStreamContext, stream: str) -> None:
        self._js = js
        self._stream = stream
        self._last: int | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publishes all, in this order; returns once every one is stored. Raises `PublishError`."""
        for start in range(0, len(messages), RUN_MESSAGES):
            await self._publish_run(messages[start : start + RUN_MESSAGES])

    async def _publish_run(self, messages: Sequence[Message]) -> None:
        client: Client = self._js._nc
        last, self._last = self._last, None
        try:
            if last is None:
                last = (await self._js.stream_info(self._stream)).state.last_seq
            for message in messages[:-1]:
                await client.publish(message.subject, message.payload, headers=dict(message.headers))
            final = messages[-1]
            ack = await self._js.publish(
                final.subject, final.payload, timeout=ACK_WITHIN_S, headers=dict(final.headers)
            )
        except (NatsError, JetStreamError, TimeoutError):
            await publish_batch(self._js, messages)
            return
        if ack.seq == last + len(messages) and not ack.duplicate:
            self._last = ack.seq
        else:
            await publish_batch(self._js, messages)
