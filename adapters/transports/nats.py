"""Requests to a NATS subject: each of their messages is published, and acknowledged by the stream that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from adapters.bus.errors import PublishError
from adapters.bus.publish import Message, publish_batch
from adapters.connectors.connector import Answer, ConnectorConfig, Request
from adapters.http.client import NoAnswerError

CONNECT_S: Final = 5.0
ACK_WITHIN_S: Final = 10.0


class _Told(msgspec.Struct):
    subject: str
    headers: dict[str, str]
    data: msgspec.Raw


_decode = msgspec.json.Decoder(list[_Told]).decode


class NatsTransport:
    """Connects when there is something to send, and again after the connection is lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._turn = asyncio.Lock()

    async def send(self, request: Request) -> Answer:
        """200 once a stream has acknowledged every message; 503 where a message was refused."""
        messages = [Message(one.subject, bytes(one.data), one.headers) for one in _decode(request.body)]
        try:
            client = await self._connected()
            await publish_batch(client.jetstream(), messages, ACK_WITHIN_S)
        except PublishError as error:
            return Answer(503, {}, msgspec.json.encode({"unacknowledged": len(error.messages)}))
        except (NatsError, OSError, TimeoutError) as error:
            raise NoAnswerError(type(error).__name__) from None
        return Answer(200, {}, msgspec.json.encode({"acknowledged": len(messages)}))

    async def _connected(self) -> Client:
        # Only the connecting takes turns: messages of several requests may be on their way at once.
        async with self._turn:
            if self._client is None or not self._client.is_connected:
                await self.close()
                self._client = await asyncio.wait_for(
                    nats.connect(
                        self._url, connect_timeout=CONNECT_S, allow_reconnect=False, name="roundtrip out"
                    ),
                    CONNECT_S,
                )
            return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@asynccontextmanager
async def open_nats(config: ConnectorConfig) -> AsyncIterator[NatsTransport]:
    transport = NatsTransport(config.secrets["url"])
    try:
        yield transport
    finally:
        await transport.close()
