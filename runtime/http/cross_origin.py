"""Calls from web pages of any origin: to the tracking API only, which takes a write key and no cookie.

Source: fetch.spec.whatwg.org, "CORS protocol". What a browser client reads of an answer, besides its status,
is when to try again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ALWAYS: Final = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
]
_PREFLIGHT: Final = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Encoding, Content-Type, X-Retry-Count"),
    (b"access-control-max-age", b"86400"),
    (b"content-length", b"0"),
]


class CrossOrigin:
    """Lets pages of any origin call these paths, and read the answers, also those that refuse."""

    def __init__(self, app: ASGIApp, paths: Collection[str], below: str) -> None:
        """`below` is a prefix of further paths."""
        self._app = app
        self._paths = frozenset(paths)
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._open(scope["path"]):
            await self._app(scope, receive, send)
            return
        asked = {name for name, _ in scope["headers"]}
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in asked:
            await send({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return

        async def shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = list(message.get("headers", []))
                message["headers"] = [*headers, *_ALWAYS]
            await send(message)

        await self._app(scope, receive, shared)

    def _open(self, path: str) -> bool:
        return path in self._paths or path.startswith(self._below)
