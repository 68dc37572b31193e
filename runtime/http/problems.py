"""Errors as RFC 9457 problem details: what was wrong, where, and what would be right. Never personal data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from feeds.feed import FeedError, InvalidError, MalformedError, Problem, TooLargeError, UnverifiedError
from runtime.errors import Overloaded, TryAgainError

_TITLES: Final = {
    400: ("malformed", "The request cannot be read"),
    401: ("unauthorized", "The credentials are missing or wrong"),
    403: ("forbidden", "These credentials are not for this"),
    404: ("not-found", "There is nothing here"),
    405: ("method-not-allowed", "This method is not for this address"),
    408: ("timeout", "The request did not come in time"),
    409: ("conflict", "This contradicts what is there"),
    413: ("too-large", "More than is taken at once"),
    415: ("unsupported-content", "This kind of content is not taken"),
    422: ("invalid", "The request says something that is not allowed"),
    429: ("overloaded", "Too much is waiting"),
    500: ("internal", "Something went wrong here"),
    503: ("unavailable", "The store does not answer"),
}
_ERRORS_SHOWN: Final = 100
_PEOPLE: Final = "/v1/profiles/"


def problem(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
    told: Callable[[Problem], dict[str, Any]] = Problem._asdict,
) -> Response:
    """An `application/problem+json` answer. `told` is how each error is written."""
    code, title = _TITLES.get(status, ("error", "The request was not carried out"))
    body: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": _instance(request.scope["path"]),
        "request_id": request.state.request_id,
    }
    if errors:
        body["errors"] = [told(error) for error in errors[:_ERRORS_SHOWN]]
    return Response(msgspec.json.encode(body), status, dict(headers or {}), "application/problem+json")


def _instance(path: str) -> str:
    """The address without the person that it names."""
    return _PEOPLE if path.startswith(_PEOPLE) else path


def of_feed_error(request: Request, error: FeedError) -> Response:
    """What a feed refused."""
    match error:
        case MalformedError():
            status = 400
        case UnverifiedError():
            status = 401
        case TooLargeError():
            status = 413
        case InvalidError():
            status = 422
        case _:
            status = 400
    headers = {"WWW-Authenticate": "Signature"} if status == 401 else {}
    return problem(request, status, error.problems[0].detail, error.problems, headers)


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: no such address, wrong method."""
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail), headers=error.headers)


async def handle_feed_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FeedError)
    return of_feed_error(request, error)


async def handle_try_again(request: Request, error: Exception) -> Response:
    assert isinstance(error, TryAgainError)
    status = 429 if isinstance(error, Overloaded) else 503
    headers = {"Retry-After": str(error.retry_after_s)}
    return problem(request, status, "nothing is lost: send the same again later", headers=headers)


async def handle_fault(request: Request, error: Exception) -> Response:
    """A fault of ours: its nature is in the log under the request's id, not in the answer."""
    return problem(request, 500, "the fault is on this side and is logged under the request_id")
