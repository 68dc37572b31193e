"""How loops do: `GET /v1/loops` and `GET /v1/loops/{name}/lift`."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import LoopError
from runtime.http.admin import guarded
from runtime.http.problems import problem
from runtime.ports import Ports


def loop_routes(ports: Ports) -> list[Route]:
    """With the API token only."""

    async def loops(request: Request) -> Response:
        return Response(msgspec.json.encode(await ports.loops()), 200, media_type="application/json")

    async def lift(request: Request) -> Response:
        try:
            found = await ports.lift(request.path_params["name"])
        except LoopError as error:
            return problem(request, 404, str(error))
        return Response(msgspec.json.encode(found), 200, media_type="application/json")

    return [
        Route("/v1/loops", guarded(ports, loops), methods=["GET"]),
        Route("/v1/loops/{name}/lift", guarded(ports, lift), methods=["GET"]),
    ]
