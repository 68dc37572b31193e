"""Vendors' webhooks: `/v1/feeds/<feed>`, verified and parsed by the feed's format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.records import entry_of
from feeds.feed import Payload
from runtime.http.body import read_body
from runtime.http.problems import problem
from runtime.ports import Ports

BODY_LIMIT: Final = 2 * 1024 * 1024


def webhook_routes(ports: Ports) -> list[Route]:
    return [Route("/v1/feeds/{feed}", _endpoint(ports), methods=["POST"])]


def _endpoint(ports: Ports) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        name = request.path_params["feed"]
        if name not in ports.workspace().webhooks:
            await ports.refresh()
        view = ports.workspace()
        webhook = view.webhooks.get(name)
        if webhook is None:
            if name in view.unusable:
                return problem(request, 503, f"feed '{name}' cannot be used: {view.unusable[name]}")
            return problem(request, 404, f"the workspace declares no webhook feed '{name}'")
        body = await read_body(request, BODY_LIMIT)
        payload = Payload(dict(request.headers), body, ports.now(), str(request.url))
        webhook.format.verify(payload, webhook.secret)
        appended = await ports.append([entry_of(record) for record in webhook.format.parse(name, payload)])
        new = sum(one.new for one in appended)
        answer = {"accepted": new, "duplicates": len(appended) - new}
        return Response(msgspec.json.encode(answer), 200, media_type="application/json")

    return endpoint
