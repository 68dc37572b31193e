"""What the stream answers: it checks a request as Airship does, redirects once with a cookie, and never ends.

Source: docs.airship.com/developer/rest-api/connect (headers, `start` or `resume_offset`, 7 days kept, duplicates),
urbanairship/connect-python-library (307 with a cookie, blank lines that keep the connection alive).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.bodies import read_fields, refuse_body
from simulators.event_stream.store import Store
from simulators.faults import Fault, Faults
from simulators.server import CUT

ACCEPT: Final = "application/vnd.urbanairship+x-ndjson; version=3;"
_PAGE: Final = 100
_KEEPALIVE_S: Final = 0.5
_COOKIE: Final = "connect-node=7"


class Stream:
    """The endpoint and its own controls: where the stream stands, and after how many events it is cut."""

    def __init__(self, app_key: str, token: str, store: Store) -> None:
        self._app_key, self._token, self._store = app_key, token, store
        self._news = asyncio.Condition()
        self._cut_after: list[int] = []
        self.opened: list[dict[str, Any]] = []

    async def events(self, request: Request) -> Response:
        """`POST /api/events`."""
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return _refuse(401, "Unauthorized")
        if request.headers.get("x-ua-appkey") != self._app_key:
            return _refuse(403, "Forbidden")
        if request.headers.get("accept") != ACCEPT:
            return _refuse(406, "Not Acceptable")
        try:
            wanted = orjson.loads(await request.body())
            after = self._position(wanted)
        except ValueError as error:
            return _refuse(400, str(error))
        if request.headers.get("cookie") != _COOKIE:
            # A redirect to itself, by which the client is led to the node that holds its stream.
            headers = {"location": str(request.url), "set-cookie": f"{_COOKIE}; Path=/"}
            return Response(status_code=307, headers=headers)
        self.opened.append(wanted)
        cut = self._cut_after.pop(0) if self._cut_after else None
        abort = request.scope["extensions"][CUT]["abort"]
        return StreamingResponse(self._lines(after, cut, abort), media_type="application/x-ndjson")

    def _position(self, wanted: Any) -> int:
        known = {"start", "resume_offset", "filters", "subset"}
        if not isinstance(wanted, dict) or set(wanted) - known:
            raise ValueError("unknown attribute in the request")
        if ("start" in wanted) == ("resume_offset" in wanted):
            raise ValueError("exactly one of start and resume_offset is expected")
        if "start" in wanted:
            if wanted["start"] not in ("EARLIEST", "LATEST"):
                raise ValueError("start is EARLIEST or LATEST")
            return 0 if wanted["start"] == "EARLIEST" else self._store.last()
        offset = wanted["resume_offset"]
        if not isinstance(offset, str) or not offset.isdigit():
            raise ValueError("resume_offset is not an offset of this stream")
        return int(offset)

    async def _lines(self, after: int, cut: int | None, abort: Any) -> AsyncIterator[bytes]:
        sent = 0
        while True:
            found = await run_in_threadpool(self._store.after, after, _PAGE)
            for number, body in found:
                if sent == cut:
                    # In the middle of a line, as a connection breaks.
                    yield body[: len(body) // 2]
                    abort()
                    return
                yield body + b"\n"
                after, sent = number, sent + 1
            if not found:
                try:
                    async with asyncio.timeout(_KEEPALIVE_S), self._news:
                        await self._news.wait()
                except TimeoutError:
                    yield b"\n"

    async def add(self, request: Request) -> Response:
        """`POST /simulate/events {"events": [...]}`: things happen."""
        [events] = await read_fields(request, "events")
        total = await run_in_threadpool(self._store.add, events)
        async with self._news:
            self._news.notify_all()
        return JSONResponse({"events": total})

    async def cut(self, request: Request) -> Response:
        """`POST /simulate/cut {"after": [3, 5]}`: the next streams break after so many events each."""
        [self._cut_after] = await read_fields(request, "after")
        return JSONResponse({})

    async def state(self, request: Request) -> Response:
        """`GET /simulate/opened`: what was asked for, each time the stream was opened."""
        return JSONResponse(self.opened)


def make_app(app_key: str, token: str, store: Store) -> ASGIApp:
    stream = Stream(app_key, token, store)

    async def refuse(fault: Fault) -> Response:
        return _refuse(fault.status or 500, "scripted")

    faults = Faults(refuse)
    routes = [
        Route("/api/events", stream.events, methods=["POST"]),
        Route("/simulate/events", stream.add, methods=["POST"]),
        Route("/simulate/cut", stream.cut, methods=["POST"]),
        Route("/simulate/opened", stream.state, methods=["GET"]),
        Route("/simulate/faults", faults.script, methods=["POST"]),
    ]
    return faults.before(Starlette(routes=routes, exception_handlers={ValueError: refuse_body}))


def _refuse(status: int, error: str) -> Response:
    return JSONResponse({"ok": False, "error": error, "error_code": status}, status)
