"""Vendors' webhooks: `/v1/feeds/<feed>`, verified and parsed by the feed's format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feeds.feed import Payload
from runtime.http.body import read_body
from runtime.http.problems import problem
from runtime.http.taking_in import take_in
from runtime.ports import Ports, Webhook

BODY_LIMIT: Final = 2 * 1024 * 1024


def webhook_routes(ports: Ports) -> list[Route]:
    return [Route("/v1/feeds/{feed}", _endpoint(ports), methods=["POST", "OPTIONS"])]


def _endpoint(ports: Ports) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        name = request.path_params["feed"]
        webhook = await _webhook(ports, name)
        if webhook is None:
            unusable = ports.workspace().unusable
            if name in unusable:
                return problem(request, 503, f"feed '{name}' cannot be used: {unusable[name]}")
            return problem(request, 404, f"the workspace declares no webhook feed '{name}'")
        if request.method == "OPTIONS":
            return _may_send(request)
        content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content not in webhook.format.content:
            known = ", ".join(sorted(filter(None, webhook.format.content)))
            raise HTTPException(415, f"this feed takes the content types {known}")
        payload = await payload_of(ports, request)
        webhook.format.verify(payload, webhook.secret)
        taken = await take_in(ports, name, payload.headers, lambda: webhook.format.parse(name, payload))
        new = sum(one.new for one in taken.appended)
        answer: dict[str, Any] = {"accepted": new, "duplicates": len(taken.appended) - new}
        if taken.problems:
            answer["refused"] = taken.refused
        return Response(
            msgspec.json.encode(answer), 207 if taken.problems else 200, media_type="application/json"
        )

    return endpoint


async def _webhook(ports: Ports, name: str) -> Webhook | None:
    if name not in ports.workspace().webhooks:
        await ports.refresh()
    return ports.workspace().webhooks.get(name)


async def payload_of(ports: Ports, request: Request) -> Payload:
    """The request as a format reads it. What a vendor signed is the address that it called."""
    body = await read_body(request, BODY_LIMIT)
    url = str(request.url)
    if ports.public_url:
        query = request.scope["query_string"].decode("latin-1")
        url = ports.public_url + request.scope["path"] + (f"?{query}" if query else "")
    return Payload(dict(request.headers), body, ports.now(), url)


def _may_send(request: Request) -> Response:
    """Says to whoever asks first that webhooks are wanted here (CloudEvents' http-webhook.md, section 4)."""
    origin = request.headers.get("webhook-request-origin")
    headers = {"Allow": "POST, OPTIONS"}
    if origin:
        headers |= {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"}
    return Response(status_code=200, headers=headers)
