"""Who a person is, was, and what happened: `GET /v1/profiles/{kind}:{value}` and below."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http.admin import guarded
from runtime.http.answering import answered, number_of
from runtime.ports import Ports
from runtime.timeline import MOST, PAGE


def profile_routes(ports: Ports) -> list[Route]:
    """With the API token only. A value may hold slashes; one that ends as a path below does is not found by it."""

    async def show(request: Request) -> Response:
        place = request.query_params.get("as_of")
        return await answered(request, ports.profile(request.path_params["who"], place))

    async def timeline(request: Request) -> Response:
        before, limit = number_of(request, "before", 2**62), number_of(request, "limit", MOST)
        return await answered(request, ports.timeline(request.path_params["who"], before, limit or PAGE))

    async def attribute(request: Request) -> Response:
        who, name = request.path_params["who"], request.path_params["name"]
        return await answered(request, ports.attribute(who, name))

    async def trace(request: Request) -> Response:
        return await answered(request, ports.trace(request.path_params["id"]))

    return [
        Route("/v1/trace/{id}", guarded(ports, trace), methods=["GET"]),
        Route("/v1/profiles/{who:path}/timeline", guarded(ports, timeline), methods=["GET"]),
        Route("/v1/profiles/{who:path}/attributes/{name}", guarded(ports, attribute), methods=["GET"]),
        Route("/v1/profiles/{who:path}", guarded(ports, show), methods=["GET"]),
    ]
