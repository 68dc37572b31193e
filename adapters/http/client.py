"""One HTTP request to a destination: bounded in time and in size, and sent where it was meant to go only.

No redirect is followed and no proxy or credential is taken from the environment. Each client has its own
pool, so a destination that hangs holds nobody else's connections.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import httpx2

from adapters.connectors.connector import Answer, Request
from adapters.http.guard import transport

DEADLINE_S: Final = 30.0
CONNECT_S: Final = 5.0
ANSWER_LIMIT: Final = 1024 * 1024


class NoAnswerError(Exception):
    """The destination gave no whole answer: whether the request had an effect is not known. The message
    names the fault, and nothing of the request."""


class HttpClient:
    """Sends requests over kept connections, as many at once as `concurrency`. An async context manager.

    Without `allow_private` it connects to public addresses only (`guard.py`).
    """

    def __init__(
        self,
        deadline_s: float = DEADLINE_S,
        connect_s: float = CONNECT_S,
        *,
        concurrency: int = 1,
        allow_private: bool = False,
    ) -> None:
        self._deadline_s = deadline_s
        most = max(concurrency, 4)
        limits = httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=5.0)
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=connect_s),
            transport=transport(limits, allow_private),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def send(self, request: Request) -> Answer:
        """Sends it once. The answer's body ends at `ANSWER_LIMIT` bytes. Raises `NoAnswerError`."""
        headers = {"accept": "application/json", "accept-encoding": "identity", **request.headers}
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(
                    request.method, request.url, headers=headers, content=request.body
                ) as response,
            ):
                body = bytearray()
                # Raw, so that a compressed answer that nobody asked for cannot swell in memory.
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= ANSWER_LIMIT:
                        break
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._deadline_s:g} s") from None
        except httpx2.TransportError as error:
            inner = isinstance(error, httpx2.ConnectError) and "inner address" in str(error)
            raise NoAnswerError(str(error) if inner else type(error).__name__) from None
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, names, bytes(body[:ANSWER_LIMIT]))
