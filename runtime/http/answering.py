"""What is asked for as JSON, and how it is answered where there is nobody, or nothing can be said."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from adapters.projections.subjects import IndexBehindError
from feeds.feed import InvalidError, Problem
from runtime.errors import LoopError, TooMuchPastError, TraceError
from runtime.http.problems import problem
from runtime.log_tail import PlaceError
from runtime.profiles import NobodyError


async def answered(request: Request, asked: Awaitable[dict[str, Any]]) -> Response:
    """What was asked for, for nobody to keep; or the problem that there is with it."""
    try:
        shown = await asked
    except (NobodyError, TraceError, LoopError) as error:
        return problem(request, 404, str(error))
    except TooMuchPastError as error:
        return problem(request, 422, str(error))
    except IndexBehindError as error:
        return problem(request, 503, str(error), headers={"Retry-After": "10"})
    except PlaceError as error:
        raise InvalidError(Problem("/as_of", "no_place", str(error))) from error
    return Response(msgspec.json.encode(shown), 200, {"Cache-Control": "no-store"}, "application/json")


def number_of(request: Request, name: str, most: int) -> int | None:
    """A number in the query, `None` where none is given. Raises `InvalidError` for what is none, or out of range."""
    said = request.query_params.get(name)
    if said is None:
        return None
    if not said.isdecimal() or len(said) > 19 or not 0 < int(said) <= most:
        raise InvalidError(Problem(f"/{name}", "no_number", f"a whole number from 1 to {most} is expected"))
    return int(said)
