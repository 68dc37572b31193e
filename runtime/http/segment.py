"""Segment's tracking API: `/v1/track` and its sisters, as the public clients call it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feeds.segment import BATCH_LIMIT, parse_call, write_key_in
from runtime.http.body import read_body
from runtime.http.problems import problem
from runtime.http.segment_settings import settings_route
from runtime.http.taking_in import take_in
from runtime.ports import Ports

#: Path → the type of its calls, `None` where each call says it. The short ones are the browser client's.
PATHS: Final[dict[str, str | None]] = {
    "/v1/track": "track",
    "/v1/identify": "identify",
    "/v1/page": "page",
    "/v1/screen": "screen",
    "/v1/group": "group",
    "/v1/alias": "alias",
    "/v1/batch": None,
    "/v1/import": None,
    "/v1/t": "track",
    "/v1/i": "identify",
    "/v1/p": "page",
    "/v1/s": "screen",
    "/v1/g": "group",
    "/v1/a": "alias",
    "/v1/b": None,
}
#: Kinds of content that clients send JSON as: a page avoids a preflight by `text/plain`, and command line
#: tools and some runtimes name a kind that nobody chose.
_CONTENT: Final = frozenset(
    {
        "",
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/json",
        "text/plain",
    }
)
_DONE: Final = Response(b'{"success":true}', 200, media_type="application/json")


def segment_routes(ports: Ports) -> list[Route]:
    """One route for each path, and the browser client's settings."""
    routes = [Route(path, _endpoint(ports, call), methods=["POST"]) for path, call in PATHS.items()]
    return [*routes, settings_route(lambda key: _feed_of(ports, key))]


def _endpoint(ports: Ports, call: str | None) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        key = _key_in_header(request)
        feed = await _feed_of(ports, key)
        if key and feed is None:
            return _unknown_key(request)
        content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content not in _CONTENT:
            raise HTTPException(415, "a call is JSON; its Content-Type is application/json or text/plain")
        body = await read_body(request, BATCH_LIMIT)
        if feed is None:
            key = write_key_in(body)
            feed = await _feed_of(ports, key)
            if feed is None:
                return _unknown_key(request)
        taken = await take_in(ports, feed, {}, lambda: parse_call(feed, call, body, ports.now()))
        if taken.problems:
            # 200, as at Segment, whose clients would send all of it again or give all of it up.
            answer = msgspec.json.encode({"success": True, "refused": taken.refused})
            return Response(answer, 200, media_type="application/json")
        return _DONE

    return endpoint


async def _feed_of(ports: Ports, key: str | None) -> str | None:
    """The feed with this write key, also one that was declared a moment ago."""
    if not key:
        return None
    feed = ports.workspace().feed_of(key)
    if feed is None:
        await ports.refresh()
        feed = ports.workspace().feed_of(key)
    return feed


def _key_in_header(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unknown_key(request: Request) -> Response:
    detail = "no feed has this write key; it goes in as the user of Basic auth, with an empty password"
    return problem(request, 401, detail, headers={"WWW-Authenticate": 'Basic realm="roundtrip"'})
