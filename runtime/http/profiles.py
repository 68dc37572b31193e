"""Who a person is: `GET /v1/profiles/{kind}:{value}`."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http.admin import guarded
from runtime.http.problems import problem
from runtime.ports import Ports
from runtime.profiles import NobodyError


def profile_routes(ports: Ports) -> list[Route]:
    """With the API token only. A value may hold slashes."""

    async def show(request: Request) -> Response:
        try:
            shown = await ports.profile(request.path_params["who"])
        except NobodyError as error:
            return problem(request, 404, str(error))
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(shown), 200, headers, "application/json")

    return [Route("/v1/profiles/{who:path}", guarded(ports, show), methods=["GET"])]
