"""How loops do: `GET /v1/loops` and `GET /v1/loops/{name}/lift`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http.admin import guarded
from runtime.http.answering import answered
from runtime.ports import Ports


def loop_routes(ports: Ports) -> list[Route]:
    """With the API token only."""

    async def loops(request: Request) -> Response:
        return await answered(request, ports.loops())

    async def lift(request: Request) -> Response:
        return await answered(request, ports.lift(request.path_params["name"]))

    return [
        Route("/v1/loops", guarded(ports, loops), methods=["GET"]),
        Route("/v1/loops/{name}/lift", guarded(ports, lift), methods=["GET"]),
    ]
