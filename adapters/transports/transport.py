"""The way to a connection's destination: HTTP, or one of those that make of a request what it is elsewhere."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Request
from adapters.http.client import HttpClient


class Transport(Protocol):
    """Sends a request once. Raises `NoAnswerError` where it is not known whether it had an effect."""

    async def send(self, request: Request) -> Answer: ...


def open_transport(
    connector: Connector, config: ConnectorConfig, concurrency: int = 1, allow_private: bool = False
) -> AbstractAsyncContextManager[Transport]:
    """The way that the connector's requests go, for this connection alone, and to public addresses only unless
    `allow_private`. By HTTP so many at once as `concurrency`."""
    # Imported when it is needed: most connections go by HTTP.
    match connector.transport:
        case "http":
            return HttpClient(concurrency=concurrency, allow_private=allow_private)
        case "nats":
            from adapters.transports.nats import open_nats

            return open_nats(config, allow_private)
        case "postgresql":
            from adapters.transports.postgresql import open_postgresql

            return open_postgresql(config, allow_private)
        case "object_store":
            from adapters.transports.object_store import open_object_store

            return open_object_store(config, allow_private)
