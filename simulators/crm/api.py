"""The CRM's endpoints, and the controls beside them.

/crm/v3/objects/contacts/…   as HubSpot's API
POST /simulate/webhook   {"url": "…", "trouble": ""}: where changes are told (simulators/crm/webhooks.py)
POST /simulate/change    {"email": "…", "property": "…", "value": "…"}: somebody in sales changes a contact
POST /simulate/export    {"file": "/tmp/crm.db"}: all contacts, into a table of a SQLite file
GET  /simulate/contacts  by address, what is held
GET  /simulate/status    counts: requests, events told and waiting
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from simulators.bodies import read_fields, refuse_body
from simulators.crm.contacts import VENDOR, Contacts, Maker
from simulators.crm.webhooks import TROUBLES, Webhook, tell
from simulators.state import State, put
from simulators.vendors.held import Held
from simulators.vendors.hubspot import answer
from simulators.vendors.vendor import Call, Refused, Reply

_SALES: Final = Maker("CRM_UI", "userId:7")


class _Crm:
    def __init__(self, token: str, app_id: str, state: State) -> None:
        self._token = token
        self._app = Maker("INTEGRATION", app_id)
        self._state = state

    async def api(self, request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.body()
        call = Call(request.method, request.url.path, dict(request.query_params), headers, body, time.time())
        reply = await run_in_threadpool(self._answer, call)
        if reply.body is None:
            return Response(status_code=reply.status)
        return JSONResponse(reply.body, reply.status)

    def _answer(self, call: Call) -> Reply:
        try:
            with self._state.transaction() as db:
                contacts = Contacts(db, self._app)
                contacts.count("requests")
                return answer(call, contacts, self._token)
        except Refused as refused:
            with self._state.transaction() as db:
                Held(db, VENDOR).count(f"rejected.{refused.reason}")
            return refused.reply

    async def webhook(self, request: Request) -> Response:
        url, trouble = await read_fields(request, "url", "trouble")
        if trouble not in TROUBLES:
            raise ValueError(f"trouble is one of {', '.join(map(repr, TROUBLES))}")
        said = orjson.dumps(Webhook(str(url), trouble)._asdict()).decode()
        with self._state.transaction() as db:
            put(db, "webhook", said)
        return JSONResponse({})

    async def change(self, request: Request) -> Response:
        email, name, value = map(str, await read_fields(request, "email", "property", "value"))
        with self._state.transaction() as db:
            Contacts(db, _SALES).change(email, name, value)
        return JSONResponse({})

    async def export(self, request: Request) -> Response:
        [file] = await read_fields(request, "file")
        with self._state.reading() as db:
            return JSONResponse({"contacts": Contacts(db, _SALES).export(Path(file))})

    async def contacts(self, request: Request) -> Response:
        with self._state.reading() as db:
            return JSONResponse(Held(db, VENDOR).all("contacts"))

    async def status(self, request: Request) -> Response:
        with self._state.reading() as db:
            held = Held(db, VENDOR)
            found: dict[str, Any] = {**held.status(), "waiting": len(held.all("events"))}
        return JSONResponse(found)


def make_app(token: str, client_secret: str, app_id: str, state: State) -> ASGIApp:
    crm = _Crm(token, app_id, state)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        courier = asyncio.create_task(tell(state, client_secret))
        yield
        courier.cancel()
        with suppress(asyncio.CancelledError):
            await courier
        state.close()

    return Starlette(
        routes=[
            Route("/simulate/webhook", crm.webhook, methods=["POST"]),
            Route("/simulate/change", crm.change, methods=["POST"]),
            Route("/simulate/export", crm.export, methods=["POST"]),
            Route("/simulate/contacts", crm.contacts),
            Route("/simulate/status", crm.status),
            Route("/{path:path}", crm.api, methods=["POST"]),
        ],
        exception_handlers={ValueError: refuse_body},
        lifespan=lifespan,
    )
