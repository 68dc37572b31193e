"""Erasing a person by HTTP: `DELETE /v1/profiles/{kind}:{value}` asks for it, `GET /v1/erasures/{id}` certifies it."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.erasures import EraseError
from runtime.http.admin import guarded
from runtime.http.problems import problem
from runtime.ports import Ports


def erasure_routes(ports: Ports) -> list[Route]:
    """With the API token only."""

    async def erase(request: Request) -> Response:
        try:
            id = await ports.erase(request.path_params["who"])
        except EraseError as error:
            return problem(request, 404, str(error))
        return _said({"erasure": id, "certificate": f"/v1/erasures/{id}"}, 202)

    async def certificate(request: Request) -> Response:
        try:
            return _said(await ports.certificate(request.path_params["id"]), 200)
        except EraseError as error:
            return problem(request, 404, str(error))

    return [
        Route("/v1/profiles/{who:path}", guarded(ports, erase), methods=["DELETE"]),
        Route("/v1/erasures/{id}", guarded(ports, certificate), methods=["GET"]),
    ]


def _said(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, {"Cache-Control": "no-store"}, "application/json")
