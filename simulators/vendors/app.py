"""One process for all vendors: the first part of a path says whom it is for.

/<vendor>/…                        as the vendor's own API
POST /<vendor>/simulate/faults     see simulators/faults.py
POST /<vendor>/simulate/limit      {"requests": 5, "window_s": 2}: more in a window are refused with 429; {} ends it
POST /<vendor>/simulate/<control>  the vendor's own, as its file says
GET  /<vendor>/simulate/status     counts; `waiting` is what its webhook is still to be told
GET  /<vendor>/simulate/held/<c>   what the vendor holds of a collection, by key
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulators.bodies import read_json, refuse_body
from simulators.faults import Fault, Faults
from simulators.state import State
from simulators.vendors.courier import Courier
from simulators.vendors.held import Held
from simulators.vendors.vendor import UNTOLD, Call, Refused, Reply, Vendor


def make_app(vendors: Mapping[str, Vendor], secret: str, state: State) -> ASGIApp:
    served = {name: _Served(name, vendor, secret, state) for name, vendor in vendors.items()}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        couriers = [asyncio.create_task(one.courier.run()) for one in served.values() if one.courier]
        yield
        for courier in couriers:
            courier.cancel()
        await asyncio.gather(*couriers, return_exceptions=True)
        state.close()

    routes = [Mount(f"/{name}", _routed(one)) for name, one in served.items()]
    return Starlette(routes=routes, lifespan=lifespan)


def _routed(vendor: _Served) -> ASGIApp:
    faults = Faults(vendor.refuse_by_script)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(
        routes=[
            Route("/simulate/faults", faults.script, methods=["POST"]),
            Route("/simulate/limit", vendor.limit, methods=["POST"]),
            Route("/simulate/status", vendor.status),
            Route("/simulate/held/{collection}", vendor.held),
            Route("/simulate/{control}", vendor.control, methods=["POST"]),
            Route("/{path:path}", vendor.answer, methods=methods),
        ],
        exception_handlers={ValueError: refuse_body},
    )
    faulty = faults.before(app)

    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        # Faults go by the path alone, so it is made one without the vendor's prefix.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        await faulty({**scope, "path": path, "root_path": ""}, receive, send)

    return stripped


class _Served:
    def __init__(self, name: str, vendor: Vendor, secret: str, state: State) -> None:
        self._name = name
        self._vendor = vendor
        self._secret = secret
        self._state = state
        self._limit: tuple[int, float] | None = None
        self._window = (0.0, 0)
        self.courier = Courier(name, vendor.tell, secret, state) if vendor.tell else None

    async def answer(self, request: Request) -> Response:
        call = Call(
            request.method,
            request.url.path,
            dict(request.query_params),
            {name.lower(): value for name, value in request.headers.items()},
            await request.body(),
            time.time(),
        )
        told = self._tell_limit(call.now)
        if told is not None and told[0] < 0:
            limit, (_, reset) = self._limit, told
            assert limit is not None
            reply = await run_in_threadpool(self._refuse, 429, None, "rate_limit")
            return _response(reply, self._vendor.limits(limit[0], 0, reset))
        reply = await run_in_threadpool(self._answer, call)
        self._wake()
        if told is None or self._limit is None:
            return _response(reply, {})
        return _response(reply, self._vendor.limits(self._limit[0], told[0], told[1]))

    def _wake(self) -> None:
        if self.courier is not None:
            self.courier.wake()

    def _answer(self, call: Call) -> Reply:
        try:
            with self._state.transaction() as db:
                held = Held(db, self._name)
                held.count("requests")
                return self._vendor.answer(call, held, self._secret)
        except Refused as refused:
            self._count_refusal(refused.reason)
            return refused.reply

    def _refuse(self, status: int, code: int | None, reason: str) -> Reply:
        self._count_refusal(reason)
        return self._vendor.refuse(status, code)

    def _count_refusal(self, reason: str) -> None:
        with self._state.transaction() as db:
            held = Held(db, self._name)
            held.count("requests")
            held.count(f"rejected.{reason}")

    def _tell_limit(self, now: float) -> tuple[int, float] | None:
        """How many calls are left in the window after this one, below zero when it is one too many, and when
        the next window begins."""
        if self._limit is None:
            return None
        allowed, window_s = self._limit
        began, used = self._window
        if now >= began + window_s:
            began, used = now, 0
        self._window = (began, used + 1)
        return allowed - used - 1, began + window_s

    async def refuse_by_script(self, fault: Fault) -> Response:
        assert fault.status is not None
        reply = await run_in_threadpool(self._refuse, fault.status, fault.code, f"fault_{fault.status}")
        return _response(reply, {})

    async def limit(self, request: Request) -> Response:
        said = await read_json(request)
        if said == {}:
            self._limit = None
        elif isinstance(said, dict) and set(said) == {"requests", "window_s"}:
            self._limit, self._window = (int(said["requests"]), float(said["window_s"])), (0.0, 0)
        else:
            raise ValueError('the body is neither {"requests": N, "window_s": S} nor {}')
        return JSONResponse({"limited": self._limit is not None})

    async def control(self, request: Request) -> Response:
        control = self._vendor.controls.get(request.path_params["control"])
        if control is None:
            raise ValueError(f"this vendor has no such control; it has: {', '.join(self._vendor.controls)}")
        said = await read_json(request)
        answer = await run_in_threadpool(self._control, control, said)
        self._wake()
        return JSONResponse(answer)

    def _control(self, control: Callable[[Any, Held], Any], said: Any) -> Any:
        with self._state.transaction() as db:
            return control(said, Held(db, self._name))

    async def status(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._read, _status))

    async def held(self, request: Request) -> Response:
        collection = request.path_params["collection"]
        return JSONResponse(await run_in_threadpool(self._read, lambda held: held.all(collection)))

    def _read(self, what: Any) -> Any:
        with self._state.reading() as db:
            return what(Held(db, self._name))


def _status(held: Held) -> dict[str, Any]:
    return {**held.status(), "waiting": len(held.all(UNTOLD))}


def _response(reply: Reply, limits: Mapping[str, str]) -> Response:
    headers = {**reply.headers, **limits}
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    if isinstance(reply.body, str):
        return Response(reply.body, reply.status, headers, "text/plain")
    return Response(orjson.dumps(reply.body), reply.status, headers, "application/json")
