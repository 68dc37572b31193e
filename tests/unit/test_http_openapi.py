"""The OpenAPI document has every route, and no other."""

from __future__ import annotations

from typing import Any, cast

from starlette.routing import Route

from runtime.http.admin import admin_routes
from runtime.http.audiences import audience_routes
from runtime.http.erasures import erasure_routes
from runtime.http.loops import loop_routes
from runtime.http.mparticle import mparticle_routes
from runtime.http.openapi import contract_routes, document
from runtime.http.profiles import profile_routes
from runtime.http.segment import segment_routes
from runtime.http.unmerges import unmerge_routes
from runtime.http.webhooks import webhook_routes
from runtime.ports import Ports


def test_every_route_is_in_the_document() -> None:
    ports = cast(Ports, None)
    routes: list[Route] = [
        *segment_routes(ports),
        *mparticle_routes(ports),
        *webhook_routes(ports),
        *admin_routes(ports),
        *profile_routes(ports),
        *erasure_routes(ports),
        *loop_routes(ports),
        *unmerge_routes(ports),
        *audience_routes(ports),
        *contract_routes(),
    ]
    served = {(r.path_format, m.lower()) for r in routes for m in (r.methods or ()) if m != "HEAD"}
    paths: dict[str, Any] = document()["paths"]
    told = {(path, method) for path, item in paths.items() for method in item if method != "parameters"}
    assert told == served
