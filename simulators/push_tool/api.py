"""The push tool's endpoints: the vendor's `POST /notifications`, and below `/simulate/` the simulator's own.

POST /simulate/behaviours   how people take a push: see behaviours.py
POST /simulate/clock        {"now": RFC 3339}: sets the simulated time, which never goes back;
                            until then the wall's holds
POST /simulate/webhook      {"url": ..., "secret": ...}: where events go
POST /simulate/faults       see simulators/faults.py
GET  /simulate/status       counts
GET  /simulate/messages     per person: what was sent, and when
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import httpx2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.bodies import read_fields, read_json, refuse_body
from simulators.faults import Fault, Faults
from simulators.push_tool.behaviours import read_behaviours
from simulators.push_tool.notification import ACCESS_DENIED, Refused, read_notification
from simulators.push_tool.store import Store, Webhook
from simulators.push_tool.webhooks import Courier
from simulators.times import read_time, write_time


class Account(NamedTuple):
    """Who may send, and for which app."""

    api_key: str
    app_id: str


def read_webhook(url: object, secret: object) -> Webhook:
    """Raises `ValueError` saying what is wrong with it."""
    try:
        read = httpx2.URL(url) if isinstance(url, str) else None
    except httpx2.InvalidURL:
        read = None
    if read is None or read.scheme not in ("http", "https") or not read.host:
        raise ValueError("the webhook's url is no http or https address with a host")
    if not isinstance(secret, str) or not secret.isascii() or not secret.isprintable():
        raise ValueError("the webhook's secret is not plain printable ASCII, as a header has to be")
    return Webhook(str(read), secret)


def make_app(account: Account, store: Store, courier: Courier) -> ASGIApp:
    push_tool = _PushTool(account, store, courier)
    faults = Faults(push_tool.refuse_by_script)
    app = Starlette(
        routes=[
            Route("/notifications", push_tool.notify, methods=["POST"]),
            Route("/simulate/behaviours", push_tool.load_behaviours, methods=["POST"]),
            Route("/simulate/clock", push_tool.set_clock, methods=["POST"]),
            Route("/simulate/webhook", push_tool.set_webhook, methods=["POST"]),
            Route("/simulate/faults", faults.script, methods=["POST"]),
            Route("/simulate/status", push_tool.status),
            Route("/simulate/messages", push_tool.messages),
        ],
        exception_handlers={ValueError: refuse_body},
        lifespan=push_tool.lifespan,
    )
    return faults.before(app)


class _PushTool:
    def __init__(self, account: Account, store: Store, courier: Courier) -> None:
        self._account = account
        self._store = store
        self._courier = courier

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        telling = asyncio.create_task(self._courier.run())
        yield
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        self._store.close()

    async def notify(self, request: Request) -> Response:
        received_wall = time.time()
        try:
            self._check_key(request)
            notification = read_notification(await request.body(), self._account.app_id)
        except Refused as refused:
            await run_in_threadpool(self._store.refuse, refused.reason)
            return JSONResponse({"errors": [str(refused)]}, refused.status)
        answer = await run_in_threadpool(self._store.accept, notification, received_wall)
        self._courier.wake()
        return Response(answer, media_type="application/json")

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Key {self._account.api_key}".encode()):
            raise Refused("access_denied", ACCESS_DENIED, 401)

    async def refuse_by_script(self, fault: Fault) -> Response:
        assert fault.status is not None
        await run_in_threadpool(self._store.refuse, f"fault_{fault.status}")
        message = "API rate limit exceeded" if fault.status == 429 else "Service temporarily unavailable"
        return JSONResponse({"errors": [message]}, fault.status)

    async def load_behaviours(self, request: Request) -> Response:
        behaviours = read_behaviours(await read_json(request))
        await run_in_threadpool(self._store.load, behaviours)
        return JSONResponse({"loaded": len(behaviours)})

    async def set_clock(self, request: Request) -> Response:
        (now,) = await read_fields(request, "now")
        clock = await run_in_threadpool(self._store.set_clock, read_time(now))
        self._courier.wake()
        return JSONResponse({"clock": write_time(clock)})

    async def set_webhook(self, request: Request) -> Response:
        url, secret = await read_fields(request, "url", "secret")
        webhook = read_webhook(url, secret)
        await run_in_threadpool(self._store.set_webhook, webhook)
        self._courier.webhook_changed()
        return JSONResponse({"url": webhook.url})

    async def status(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._store.status))

    async def messages(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._store.messages))
