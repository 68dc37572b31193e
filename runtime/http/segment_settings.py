"""The settings that Segment's browser client asks for before its first call: where to send, and no more.

Source: the public `@segment/analytics-next` (src/browser/index.ts, `CDNSettings`), which fetches
`<cdnURL>/v1/projects/<write key>/settings`. With `cdnURL` pointed here it needs nothing of Segment's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.http.problems import problem

BELOW: Final = "/v1/projects/"

FeedOf = Callable[[str], Awaitable[str | None]]


def settings_route(feed_of: FeedOf) -> Route:
    """The route. `feed_of` gives the feed with a write key, `None` where there is none."""

    async def endpoint(request: Request) -> Response:
        key = request.path_params["key"]
        if await feed_of(key) is None:
            return problem(request, 404, "no feed has this write key; it stands in the address")
        place = request.url
        body = msgspec.json.encode(settings(key, place.scheme, place.netloc))
        return Response(body, 200, media_type="application/json")

    return Route(BELOW + "{key}/settings", endpoint, methods=["GET"])


def settings(key: str, protocol: str, host: str) -> dict[str, Any]:
    """One destination, which is ourselves; every event goes; nothing is measured and sent elsewhere."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{host}/v1",
                "protocol": protocol,
                "bundlingStatus": "bundled",
                "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
            }
        },
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "edgeFunction": {},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
