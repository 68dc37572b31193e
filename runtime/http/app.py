"""The HTTP API, put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feeds.feed import FeedError
from runtime.errors import TryAgainError
from runtime.http.admin import admin_routes
from runtime.http.audiences import audience_routes
from runtime.http.cross_origin import CrossOrigin
from runtime.http.erasures import erasure_routes
from runtime.http.loops import loop_routes
from runtime.http.mparticle import mparticle_routes
from runtime.http.openapi import contract_routes
from runtime.http.pressure import Pressure
from runtime.http.problems import handle_fault, handle_feed_error, handle_http_exception, handle_try_again
from runtime.http.profiles import profile_routes
from runtime.http.segment import PATHS, segment_routes
from runtime.http.segment_settings import BELOW
from runtime.http.unmerges import unmerge_routes
from runtime.http.webhooks import webhook_routes
from runtime.ports import Ports

log = structlog.get_logger("http")


def create_app(ports: Ports) -> ASGIApp:
    """The API on these ports."""
    tracking = segment_routes(ports)
    app = Starlette(
        routes=[
            *tracking,
            *mparticle_routes(ports),
            *webhook_routes(ports),
            *admin_routes(ports),
            *profile_routes(ports),
            *erasure_routes(ports),
            *loop_routes(ports),
            *unmerge_routes(ports),
            *audience_routes(ports),
            *contract_routes(),
        ],
        exception_handlers={
            HTTPException: handle_http_exception,
            FeedError: handle_feed_error,
            TryAgainError: handle_try_again,
        },
    )
    return CrossOrigin(_Requests(Pressure(_Straight(app, tracking), ports.full)), PATHS, BELOW)


class _Straight:
    """Leads calls of the tracking API straight to their endpoint: that is nearly all the traffic, and the way
    through the framework takes longer than reading a call. What it refuses is answered as everywhere."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._endpoints = {route.path: route.endpoint for route in routes if "POST" in (route.methods or ())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["method"] == "POST" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except FeedError as error:
            response = await handle_feed_error(request, error)
        except TryAgainError as error:
            response = await handle_try_again(request, error)
        except HTTPException as error:
            response = await handle_http_exception(request, error)
        except ClientDisconnect:
            return
        await response(scope, receive, send)


class _Requests:
    """Names every request, and turns a fault of ours into a problem instead of a dropped connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = os.urandom(16).hex()
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers: list[Any] = list(message.get("headers", []))
                message["headers"] = [*headers, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, named)
        except ClientDisconnect:
            # Nobody is there to be answered.
            return
        except Exception as error:
            # The last frame: whatever it is, it is logged by name and the server stays up.
            log.error("request failed", request_id=request_id, error=type(error).__name__, exc_info=True)
            if started:
                raise
            response = await handle_fault(Request(scope), error)
            await response(scope, receive, named)
