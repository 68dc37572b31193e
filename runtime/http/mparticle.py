"""mParticle's Events API v2, with its own status codes: `/v2/events`, `/v2/bulkevents`.

Its SDKs know 202, 400, 401, 403, 429 and 503, and read `errors[]` as `code` and `message`
(docs.mparticle.com/developers/apis/http). Whether a 202 has a body could not be confirmed; ours has none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.records import Record
from feeds.feed import JSON, FeedError, InvalidError, Payload
from feeds.mparticle import FEED, credentials, parse_bulk, parse_events
from feeds.signatures import equal
from runtime.http.problems import problem
from runtime.http.taking_in import take_in
from runtime.http.webhooks import payload_of
from runtime.ports import Ports

_PARSERS: Final = {"/v2/events": parse_events, "/v2/bulkevents": parse_bulk}


def mparticle_routes(ports: Ports) -> list[Route]:
    return [Route(path, _endpoint(ports, parse), methods=["POST"]) for path, parse in _PARSERS.items()]


def _endpoint(
    ports: Ports, parse: Callable[[str, Payload], Sequence[Record]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        given = credentials(request.headers.get("authorization", ""))
        if given is None:
            headers = {"WWW-Authenticate": 'Basic realm="roundtrip"'}
            return problem(request, 401, "the key and secret go in by Basic auth", headers=headers)
        feed = _feed_of(ports, given)
        if feed is None:
            await ports.refresh()
            feed = _feed_of(ports, given)
        if feed is None:
            return problem(request, 403, "no mparticle feed has this key and secret")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in JSON:
            raise HTTPException(415, "a batch is JSON; its Content-Type is application/json")
        payload = await payload_of(ports, request)
        try:
            await take_in(ports, feed, payload.headers, lambda: parse(feed, payload))
        except InvalidError as error:
            return _bad_request(request, error)
        return Response(status_code=202)

    return endpoint


def _bad_request(request: Request, error: FeedError) -> Response:
    detail = error.problems[0].detail
    return problem(
        request, 400, detail, error.problems, told=lambda one: one._asdict() | {"message": one.detail}
    )


def _feed_of(ports: Ports, given: str) -> str | None:
    """The feed with this key and secret. All are compared, so time tells nothing about any of them."""
    found = None
    for name, webhook in ports.workspace().webhooks.items():
        if webhook.format is FEED and equal(webhook.secret, given):
            found = name
    return found
