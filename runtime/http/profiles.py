"""Who a person is, was, and what happened: `GET /v1/profiles/{kind}:{value}` and below."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.projections.subjects import IndexBehindError
from feeds.feed import InvalidError, Problem
from runtime.errors import TooMuchPastError, TraceError
from runtime.http.admin import guarded
from runtime.http.problems import problem
from runtime.log_tail import PlaceError
from runtime.ports import Ports
from runtime.profiles import NobodyError
from runtime.timeline import MOST, PAGE


def profile_routes(ports: Ports) -> list[Route]:
    """With the API token only. A value may hold slashes; one that ends as a path below does is not found by it."""

    async def show(request: Request) -> Response:
        place = request.query_params.get("as_of")
        return await _answer(request, ports.profile(request.path_params["who"], place))

    async def timeline(request: Request) -> Response:
        before, limit = _number(request, "before", None, 2**62), _number(request, "limit", PAGE, MOST)
        assert limit is not None
        return await _answer(request, ports.timeline(request.path_params["who"], before, limit))

    async def attribute(request: Request) -> Response:
        who, name = request.path_params["who"], request.path_params["name"]
        return await _answer(request, ports.attribute(who, name))

    async def trace(request: Request) -> Response:
        return await _answer(request, ports.trace(request.path_params["id"]))

    return [
        Route("/v1/trace/{id}", guarded(ports, trace), methods=["GET"]),
        Route("/v1/profiles/{who:path}/timeline", guarded(ports, timeline), methods=["GET"]),
        Route("/v1/profiles/{who:path}/attributes/{name}", guarded(ports, attribute), methods=["GET"]),
        Route("/v1/profiles/{who:path}", guarded(ports, show), methods=["GET"]),
    ]


async def _answer(request: Request, asked: Awaitable[dict[str, Any]]) -> Response:
    try:
        shown = await asked
    except (NobodyError, TraceError) as error:
        return problem(request, 404, str(error))
    except TooMuchPastError as error:
        return problem(request, 422, str(error))
    except IndexBehindError as error:
        return problem(request, 503, str(error), headers={"Retry-After": "10"})
    except PlaceError as error:
        raise InvalidError(Problem("/as_of", "no_place", str(error))) from error
    return Response(msgspec.json.encode(shown), 200, {"Cache-Control": "no-store"}, "application/json")


def _number(request: Request, name: str, default: int | None, most: int) -> int | None:
    said = request.query_params.get(name)
    if said is None:
        return default
    if not said.isdecimal() or len(said) > 19 or not 0 < int(said) <= most:
        raise InvalidError(Problem(f"/{name}", "no_number", f"a whole number from 1 to {most} is expected"))
    return int(said)
