"""One HTTP request to a destination: bounded in time and in size, and sent where it was meant to go only.

No redirect is followed and no proxy or credential is taken from the environment. Each client has its own
pool, so a destination that hangs holds nobody else's connections.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self

import aiohttp
import httpx2

from adapters.connectors.connector import Answer, Request
from adapters.http.guard import InnerAddressError, public_socket, refusal

DEADLINE_S: Final = 30.0
CONNECT_S: Final = 5.0
#: A connection with nothing to do is closed after so long, in seconds.
KEPT_S: Final = 5.0
ANSWER_LIMIT: Final = 1024 * 1024


class NoAnswerError(Exception):
    """The destination gave no whole answer: whether the request had an effect is not known. The message
    names the fault, and nothing of the request."""


class HttpClient:
    """Sends requests over kept connections, as many at once as `concurrency`. An async context manager.

    Without `allow_private` it connects to public addresses only (`guard.py`). aiohttp reads answers in C: httpx takes
    five times the processor for a request (`benchmarks/delivery.py`).
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
        self._connect_s = connect_s
        self._most = max(concurrency, 4)
        self._allow_private = allow_private

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            # The certificate authorities that everything else of Roundtrip trusts.
            ssl=httpx2.create_ssl_context(trust_env=False),
            limit=self._most,
            keepalive_timeout=KEPT_S,
            socket_factory=None if self._allow_private else public_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            # So that a compressed answer that nobody asked for cannot swell in memory.
            auto_decompress=False,
            skip_auto_headers=("content-type",),
            trust_env=False,
        )
        # aiohttp would send a PUT or DELETE again by itself: past the connection's rate, and counted by nobody.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._session.close()

    async def send(self, request: Request) -> Answer:
        """Sends it once. The answer's body ends at `ANSWER_LIMIT` bytes. Raises `NoAnswerError`."""
        headers = {"accept": "application/json", "accept-encoding": "identity", **request.headers}
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._session.request(
                    request.method, request.url, headers=headers, data=request.body, allow_redirects=False
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) >= ANSWER_LIMIT:
                        break
        except aiohttp.ClientConnectorError as error:
            inner = isinstance(error.os_error, InnerAddressError)
            raise NoAnswerError(refusal(error.host) if inner else type(error).__name__) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise NoAnswerError(type(error).__name__) from None
        except TimeoutError:
            raise NoAnswerError(f"no answer within {self._deadline_s:g} s") from None
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, names, bytes(body[:ANSWER_LIMIT]))
