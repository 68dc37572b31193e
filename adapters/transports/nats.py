"""Requests to a NATS subject: each of their messages is published, and acknowledged by the stream that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from adapters.bus.errors import PublishError
from adapters.bus.publish import Message, publish_batch
from adapters.connectors.connector import Answer, ConnectorConfig, Request
from adapters.http.client import NoAnswerError
from adapters.http.guard import REFUSAL, InnerAddressError, public_address

CONNECT_S: Final = 5.0
ACK_WITHIN_S: Final = 10.0


class _Told(msgspec.Struct):
    subject: str
    headers: dict[str, str]
    data: msgspec.Raw


_decode = msgspec.json.Decoder(list[_Told]).decode


class NatsTransport:
    """Connects when there is something to send, and again after the connection is lost."""

    def __init__(self, url: str, allow_private: bool) -> None:
        self._url = url
        self._allow_private = allow_private
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
        except InnerAddressError:
            raise NoAnswerError(f"its host {REFUSAL}") from None
        except (NatsError, OSError, TimeoutError) as error:
            raise NoAnswerError(type(error).__name__) from None
        return Answer(200, {}, msgspec.json.encode({"acknowledged": len(messages)}))

    async def _connected(self) -> Client:
        # Only the connecting takes turns: messages of several requests may be on their way at once.
        async with self._turn:
            if self._client is None or not self._client.is_connected:
                await self.close()
                self._client = await asyncio.wait_for(self._connect(), CONNECT_S)
            return self._client

    async def _connect(self) -> Client:
        url, host = (self._url, None) if self._allow_private else await _pinned(self._url)
        return await nats.connect(
            url, tls_hostname=host, connect_timeout=CONNECT_S, allow_reconnect=False, name="roundtrip out"
        )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


async def _pinned(url: str) -> tuple[str, str]:
    """The server by a public address that its name has now, and the name, which its certificate is for."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    host = parts.hostname or ""
    address = await public_address(host)
    user, at, _ = parts.netloc.rpartition("@")
    place = f"[{address}]" if ":" in address else address
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{user}{at}{place}{port}").geturl(), host


@asynccontextmanager
async def open_nats(config: ConnectorConfig, allow_private: bool) -> AsyncIterator[NatsTransport]:
    transport = NatsTransport(config.secrets["url"], allow_private)
    try:
        yield transport
    finally:
        await transport.close()
