"""Back pressure: when more waits for the log than may wait, a call is answered 429 before its body is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.errors import Overloaded
from runtime.http.problems import handle_try_again

#: Bytes of the bodies of all requests that are not answered yet.
MAX_BODIES: Final = 128 * 1024 * 1024
RETRY_AFTER_S: Final = 1


class Pressure:
    """Lets calls in while there is room: `full` says that the log has none, and bodies are counted here."""

    def __init__(self, app: ASGIApp, full: Callable[[], bool], max_bodies: int = MAX_BODIES) -> None:
        self._app = app
        self._full = full
        self._max_bodies = max_bodies
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        # One that is too large by itself would be so next time as well: whoever limits it says so (413).
        alone = _declared(scope) > self._max_bodies
        if self._full() or (not alone and self._held + _declared(scope) > self._max_bodies):
            response = await handle_try_again(Request(scope), Overloaded(RETRY_AFTER_S))
            await response(scope, receive, send)
            return
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            held += size
            self._held += size
            if self._held > self._max_bodies:
                raise Overloaded(RETRY_AFTER_S)
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= held


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
