"""The ad platform's endpoints: the vendor's `/<version>/<audience>/users`, and below `/simulate/` its own.

    POST /simulate/faults           see simulators/faults.py
    GET  /simulate/status           counts
    GET  /simulate/audiences/<id>   everybody who ever was in it

An audience is there as soon as somebody names it by a number.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.ad_platform.store import Store
from simulators.ad_platform.upload import (
    BAD_TOKEN,
    INVALID,
    VERSION,
    GraphError,
    read_parameters,
    read_upload,
)
from simulators.bodies import refuse_body
from simulators.faults import Fault, Faults

_TEMPORARY: Final = 2
_USER_LIMIT: Final = 17
_CALL_LIMIT: Final = 613
_OLD_VERSION: Final = 2635
_NO_SUCH_OBJECT: Final = 33

#: What the vendor says to these codes; all of them pass by themselves.
_PASSING: Final = {
    _TEMPORARY: "(#2) Service temporarily unavailable",
    _USER_LIMIT: "(#17) User request limit reached",
    _CALL_LIMIT: "(#613) Calls to this api have exceeded the rate limit.",
}


def make_app(token: str, store: Store) -> ASGIApp:
    platform = _AdPlatform(token, store)
    faults = Faults(platform.refuse_by_script)
    app = Starlette(
        routes=[
            Route("/{version}/{audience_id}/users", platform.change, methods=["POST", "DELETE"]),
            Route("/simulate/faults", faults.script, methods=["POST"]),
            Route("/simulate/status", platform.status),
            Route("/simulate/audiences/{audience_id}", platform.audience),
        ],
        exception_handlers={ValueError: refuse_body},
        lifespan=platform.lifespan,
    )
    return faults.before(app)


class _AdPlatform:
    def __init__(self, token: str, store: Store) -> None:
        self._token = token
        self._store = store

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        self._store.close()

    async def change(self, request: Request) -> Response:
        received_wall = time.time()
        audience_id = request.path_params["audience_id"]
        try:
            content_type = request.headers.get("content-type", "")
            parameters = read_parameters(content_type, request.query_params, await request.body())
            self._check_token(request, parameters)
            _check_address(request.path_params["version"], audience_id)
            upload = read_upload(parameters)
        except GraphError as error:
            await run_in_threadpool(self._store.refuse, error.reason)
            return _refusal(error)
        change: Final = "add" if request.method == "POST" else "remove"
        await run_in_threadpool(self._store.apply, audience_id, change, upload, received_wall)
        return JSONResponse(
            {
                "audience_id": audience_id,
                "session_id": upload.session_id or str(secrets.randbits(62)),
                "num_received": upload.num_received,
                "num_invalid_entries": upload.num_invalid,
                "invalid_entry_samples": upload.invalid_samples,
            }
        )

    def _check_token(self, request: Request, parameters: dict[str, Any]) -> None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else str(parameters.get("access_token", ""))
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            message = "Invalid OAuth access token - Cannot parse access token"
            raise GraphError("bad_token", BAD_TOKEN, message, status=401)

    async def refuse_by_script(self, fault: Fault) -> Response:
        assert fault.status is not None
        await run_in_threadpool(self._store.refuse, f"fault_{fault.status}")
        code = fault.code or {400: _USER_LIMIT, 429: _CALL_LIMIT}.get(fault.status, _TEMPORARY)
        message = _PASSING.get(code, f"(#{code}) Scripted fault")
        return _refusal(GraphError("", code, message, status=fault.status))

    async def status(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._store.status))

    async def audience(self, request: Request) -> Response:
        audience_id = request.path_params["audience_id"]
        members = await run_in_threadpool(self._store.audience, audience_id)
        return JSONResponse({"audience_id": audience_id, "members": members})


def _check_address(version: str, audience_id: str) -> None:
    if version != VERSION:
        message = f"(#{_OLD_VERSION}) You are calling a deprecated version of the Ads API. Please update to {VERSION}."
        raise GraphError("version", _OLD_VERSION, message)
    if not audience_id.isascii() or not audience_id.isdigit():
        raise GraphError(
            "audience",
            INVALID,
            "Unsupported request. Object does not exist, cannot be loaded due to missing permissions, or does "
            "not support this operation",
            subcode=_NO_SUCH_OBJECT,
        )


def _refusal(error: GraphError) -> Response:
    said: dict[str, Any] = {
        "message": str(error),
        "type": "OAuthException",
        "code": error.code,
        "fbtrace_id": "A" + secrets.token_urlsafe(16),
    }
    if error.subcode:
        said["error_subcode"] = error.subcode
    if error.code in _PASSING:
        said["is_transient"] = True
    return JSONResponse({"error": said}, error.status)
