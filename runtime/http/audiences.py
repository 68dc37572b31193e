"""Audiences: `GET /v1/audiences`, `…/{name}/members` and `…/{name}/explain?who=KIND:VALUE`."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feeds.feed import InvalidError, Problem
from runtime.http.admin import guarded
from runtime.http.answering import answered, number_of
from runtime.ports import Ports

PAGE: Final = 1_000
MOST: Final = 10_000


def audience_routes(ports: Ports) -> list[Route]:
    """With the API token only."""

    async def audiences(request: Request) -> Response:
        return await answered(request, ports.audiences())

    async def members(request: Request) -> Response:
        after, limit = request.query_params.get("after", ""), number_of(request, "limit", MOST) or PAGE
        if after:
            _profile(after)
        return await answered(request, ports.members(request.path_params["name"], after, limit))

    async def explain(request: Request) -> Response:
        who = request.query_params.get("who")
        if who is None:
            raise InvalidError(Problem("/who", "nobody", "say whom: ?who=user_id:u-17"))
        place = request.query_params.get("as_of")
        return await answered(request, ports.explain(request.path_params["name"], who, place))

    return [
        Route("/v1/audiences", guarded(ports, audiences), methods=["GET"]),
        Route("/v1/audiences/{name}/members", guarded(ports, members), methods=["GET"]),
        Route("/v1/audiences/{name}/explain", guarded(ports, explain), methods=["GET"]),
    ]


def _profile(said: str) -> None:
    try:
        UUID(said)
    except ValueError:
        detail = "a profile's id is expected, as `next` of the page before"
        raise InvalidError(Problem("/after", "no_profile", detail)) from None
