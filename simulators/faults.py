"""Faults on request: what the next requests to a vendor's endpoints meet instead of an answer.

Scripted by `POST /simulate/faults {"next": [...]}`, one entry a request, in order; a new script replaces
what is left of the old one. The script is of the process, not of its state: a restart forgets it.

    {"status": 503, "retry_after": 1}   refused without effect; `retry_after` may be any text, to be garbage
    {"drop": true}                      the connection is cut, without effect
    {"drop_after_commit": true}         takes effect, then the connection is cut instead of an answer
    {"delay_s": 30}                     waits first, or after it took effect and before the connection is cut; may stand
                                        with each of the above, or alone
    {}                                  no fault
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from simulators.bodies import read_json
from simulators.server import CUT

#: Longest wait that a script may ask for, in seconds.
MAX_DELAY_S: Final = 600.0
_OUR_PATHS: Final = "/simulate/"


class Fault(NamedTuple):
    """What one request meets. `code` is the vendor's own error code, where its answers have one."""

    status: int | None = None
    code: int | None = None
    retry_after: str | None = None
    drop: bool = False
    drop_after_commit: bool = False
    delay_s: float = 0.0


def read_script(body: object) -> list[Fault]:
    """The faults that a request scripts. Raises `ValueError` naming the entry that is wrong."""
    entries = body.get("next") if isinstance(body, dict) and set(body) == {"next"} else None
    if not isinstance(entries, list):
        raise ValueError('the body is not {"next": [...]}: write a list of faults, [] for none')
    return [_read(entry, f"next[{index}]") for index, entry in enumerate(entries)]


def _read(entry: Any, at: str) -> Fault:
    if not isinstance(entry, dict):
        raise ValueError(f'{at} is no object: write one, as in {{"status": 503}}')
    if unknown := sorted(set(entry) - set(Fault._fields)):
        raise ValueError(
            f"{at} has {unknown[0]!r}, which no fault has; known are: {', '.join(Fault._fields)}"
        )
    status, code, delay = entry.get("status"), entry.get("code"), entry.get("delay_s", 0)
    if status is not None and (type(status) is not int or not 400 <= status <= 599):
        raise ValueError(f"{at}.status {status!r} is no refusal: write a status from 400 to 599")
    if code is not None and type(code) is not int:
        raise ValueError(f"{at}.code {code!r} is no error code: write a whole number")
    if type(delay) not in (int, float) or not 0 <= delay <= MAX_DELAY_S:
        raise ValueError(f"{at}.delay_s {delay!r} is no delay: write seconds from 0 to {MAX_DELAY_S:.0f}")
    retry_after = entry.get("retry_after")
    drops = {name: entry.get(name, False) for name in ("drop", "drop_after_commit")}
    for name, value in drops.items():
        if type(value) is not bool:
            raise ValueError(f"{at}.{name} {value!r} is neither true nor false: write one of these")
    if sum([status is not None, *drops.values()]) > 1:
        raise ValueError(f"{at} cannot be more than one of status, drop and drop_after_commit: choose one")
    return Fault(
        status, code, None if retry_after is None else str(retry_after), delay_s=float(delay), **drops
    )


#: Counts a scripted refusal, and answers it in the vendor's shape.
Refuse = Callable[[Fault], Awaitable[Response]]


class Faults:
    """The script, as far as it is left."""

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._next: deque[Fault] = deque()

    async def script(self, request: Request) -> Response:
        """`POST /simulate/faults`."""
        faults = read_script(await read_json(request))
        self._next = deque(faults)
        return JSONResponse({"scripted": len(faults)})

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app` with the faults before its vendor's endpoints; the simulator's own are let through."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].startswith(_OUR_PATHS) or not self._next:
                await app(scope, receive, send)
            else:
                await self._meet(self._next.popleft(), app, scope, receive, send)

        return faulty

    async def _meet(self, fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.drop_after_commit:
            await app(scope, receive, _unsent)
        await asyncio.sleep(fault.delay_s)
        if fault.status is not None:
            answer = await self._refuse(fault)
            if fault.retry_after is not None:
                answer.headers["retry-after"] = fault.retry_after
            await answer(scope, receive, send)
        elif fault.drop or fault.drop_after_commit:
            scope["extensions"][CUT]["abort"]()
            # The server learns that the connection is gone in the loop's next round.
            await asyncio.sleep(0)
        else:
            await app(scope, receive, send)


async def _unsent(message: Message) -> None:
    """An answer that stays here."""
