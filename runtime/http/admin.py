"""What an operator asks: where everything stands, and, in a simulation, what time it is."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feeds.feed import InvalidError, Problem
from feeds.reading import read_json
from feeds.times import parse_time
from runtime.http.body import read_body
from runtime.http.problems import problem
from runtime.metrics import TEXT, exposition
from runtime.ports import Ports

_BODY_LIMIT: Final = 4 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Endpoint = Callable[[Request], Awaitable[Response]]


def admin_routes(ports: Ports) -> list[Route]:
    """`/healthz` is open and says nothing but that this process answers; all else needs the API token."""

    async def health(request: Request) -> Response:
        return _json({"status": "ok"})

    async def status(request: Request) -> Response:
        return _json(await ports.status())

    async def metrics(request: Request) -> Response:
        return Response(exposition(await ports.status(), await ports.loops()), 200, media_type=TEXT)

    async def clock(request: Request) -> Response:
        if ports.workspace().clock != "simulated":
            await ports.refresh()
        if ports.workspace().clock != "simulated":
            detail = "this workspace's clock is the wall's; only a workspace with `clock: simulated` is told"
            return problem(request, 409, detail)
        said = read_json(await read_body(request, _BODY_LIMIT))
        if not isinstance(said, dict) or "to" not in said:
            raise InvalidError(
                Problem("/to", "no_time", 'an object as {"to": "2026-01-05T02:00:00Z"} is expected')
            )
        at = await ports.advance_clock(parse_time(said["to"], "/to"))
        return _json({"log_time": (_EPOCH + timedelta(microseconds=at)).isoformat()})

    return [
        Route("/healthz", health, methods=["GET"]),
        Route("/v1/status", guarded(ports, status), methods=["GET"]),
        Route("/metrics", guarded(ports, metrics), methods=["GET"]),
        Route("/v1/clock", guarded(ports, clock), methods=["POST"]),
    ]


def guarded(ports: Ports, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for whoever has the API token."""

    async def guarded(request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), ports.api_token.encode()):
            detail = "the API token goes in as `Authorization: Bearer …`; it is in <home>/api-token"
            return problem(request, 401, detail, headers={"WWW-Authenticate": 'Bearer realm="roundtrip"'})
        return await endpoint(request)

    return guarded


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), 200, media_type="application/json")
