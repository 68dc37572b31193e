"""The HTTP/1.1 connection, bounded where the server's own is not: how long a request's head may take and how
large it may be, what a request may not say twice, and how an unreadable one is answered.

A body's bounds are in `runtime/http/body.py`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final, cast

import msgspec
from httptools import HttpParserCallbackError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: From the connection, or from a request's first byte, to the end of its head, in seconds.
HEAD_S: Final = 10.0
#: Bytes of a request's first line and headers.
HEAD_LIMIT: Final = 64 * 1024
#: How long who was answered before the end of a body may go on sending it, in seconds: closing at once would take the
#: answer from a client that reads only after it has sent.
LINGER_S: Final = 2.0

_TITLES: Final = {
    400: (b"400 Bad Request", "malformed", "The request cannot be read"),
    408: (b"408 Request Timeout", "timeout", "The request did not come in time"),
    431: (b"431 Request Header Fields Too Large", "too-large", "More than is taken at once"),
    503: (b"503 Service Unavailable", "unavailable", "There is no room for the request now"),
}


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    _in_head = True
    _head_size = 0
    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_has_come()
        self._body_has_come()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            if self._head_timer is not None:
                self._head_has_come()
        elif self.transport is not None and not self.transport.is_closing():
            self._head_size += len(data)
            if self._head_size > HEAD_LIMIT:
                self._refuse(431, f"a request's first line and headers have at most {HEAD_LIMIT} bytes")
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        names = [name for name, _ in self.headers]
        if b"transfer-encoding" in names and b"content-length" in names:
            # Two lengths for one body: what reads the one and what reads the other see different requests.
            self._refuse(400, "a request has a Content-Length or a Transfer-Encoding, not both")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        # Between two requests no head is awaited: the server's own keep-alive timeout holds.
        self._in_head = False
        if self.cycle is None:
            return
        super().on_message_complete()
        if self._linger_timer is not None:
            self._body_has_come()
            # The server began its keep-alive with the answer, and ended it with what came of the body since.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._linger_timer = asyncio.get_running_loop().call_later(LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        error = sys.exception()
        if isinstance(error, HttpParserCallbackError) and isinstance(error.__context__, MemoryError):
            # What came was as it should be.
            self._refuse(503, "nothing is lost: send the same again later", b"retry-after: 1\r\n")
        else:
            self._refuse(400, "the request is not HTTP/1.1 as it should be")

    def _await_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_S, self._head_is_late)

    def _head_has_come(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _body_has_come(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_size or self.cycle is not None:
            self._refuse(408, f"a request's head comes within {HEAD_S:g} seconds")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str, header: bytes = b"") -> None:
        if self.transport.is_closing():
            return
        line, code, title = _TITLES[status]
        problem: dict[str, Any] = {
            "type": f"/problems/{code}",
            "title": title,
            "status": status,
            "detail": detail,
        }
        body = msgspec.json.encode(problem)
        head = b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n"
        self.transport.write(head % (line, len(body)) + header + b"\r\n" + body)
        self.transport.close()
