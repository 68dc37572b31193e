"""The connection to NATS: once made it lasts, through any number of restarts of the server."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from adapters.bus.errors import BusUnavailableError

CONNECT_WITHIN_S: Final = 30.0
RECONNECT_WAIT_S: Final = 0.25

log = structlog.get_logger("bus")


async def connect(url: str, name: str = "roundtrip", within_s: float = CONNECT_WITHIN_S) -> Client:
    """Connects to a NATS server, or to one of several with commas between them.

    Raises `BusUnavailableError` when none answers within `within_s` seconds. Afterwards it reconnects by
    itself, for as long as it takes. The URL may hold credentials, so it is never shown whole.
    """
    servers = [server.strip() for server in url.split(",")]
    last: list[Exception] = []
    client = Client()

    async def on_error(error: Exception) -> None:
        last[:] = [error]
        log.warning("nats error", error=type(error).__name__)

    async def on_disconnect() -> None:
        if client.is_reconnecting:
            log.warning("nats disconnected")

    async def on_reconnect() -> None:
        log.info("nats reconnected")

    try:
        async with asyncio.timeout(within_s):
            await client.connect(
                servers,
                name=name,
                max_reconnect_attempts=-1,
                # Declared as int, but only slept for.
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                connect_timeout=2,
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
            )
    except (TimeoutError, OSError, NatsError) as error:
        await client.close()
        hosts = ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in servers)
        cause = type(last[0] if last else error).__name__
        raise BusUnavailableError(
            f"{hosts}: no NATS server could be connected to within {within_s:g} s ({cause}); "
            "start it, or mend ROUNDTRIP_NATS_URL"
        ) from error
    return client
