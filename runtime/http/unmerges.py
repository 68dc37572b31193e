"""Making one person two by HTTP: `POST /v1/unmerges` asks for it, `GET /v1/unmerges/{id}` says what was done."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.projections.subjects import IndexBehindError
from feeds.feed import InvalidError, Problem
from feeds.reading import read_json
from runtime.errors import UnmergeError
from runtime.http.admin import guarded
from runtime.http.body import read_body
from runtime.http.problems import problem
from runtime.ports import Ports
from runtime.profiles import NobodyError

_BODY_LIMIT: Final = 8 * 1024


def unmerge_routes(ports: Ports) -> list[Route]:
    """With the API token only."""

    async def ask(request: Request) -> Response:
        said = read_json(await read_body(request, _BODY_LIMIT))
        who = said.get("who") if isinstance(said, dict) else None
        apart_from = said.get("from", "") if isinstance(said, dict) else None
        if not isinstance(who, str) or not isinstance(apart_from, str | int):
            expected = 'an object as {"who": "user_id:u-17", "from": "email:a@example.com"} is expected'
            raise InvalidError(Problem("", "no_unmerge", expected))
        try:
            id = await ports.unmerge(who, str(apart_from))
        except NobodyError as error:
            return problem(request, 404, str(error))
        except UnmergeError as error:
            return problem(request, 422, str(error))
        except IndexBehindError as error:
            return problem(request, 503, str(error), headers={"Retry-After": "10"})
        return _said({"unmerge": id, "outcome": f"/v1/unmerges/{id}"}, 202)

    async def outcome(request: Request) -> Response:
        try:
            return _said(await ports.unmerged(request.path_params["id"]), 200)
        except UnmergeError as error:
            return problem(request, 404, str(error))

    return [
        Route("/v1/unmerges", guarded(ports, ask), methods=["POST"]),
        Route("/v1/unmerges/{id}", guarded(ports, outcome), methods=["GET"]),
    ]


def _said(body: object, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, {"Cache-Control": "no-store"}, "application/json")
