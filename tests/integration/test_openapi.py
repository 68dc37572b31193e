"""What our own OpenAPI document allows, and what it does not: no request of either kind finds a fault, and every
answer is as the document says. `make soak` draws many more requests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from runtime.http.openapi import document
from tests.integration.conftest import MPARTICLE_SECRET, PUSH_SECRET, VENDOR_SECRET, WRITE_KEY, Roundtrip

#: A request takes longer than a property, so fewer of them are drawn.
DRAWN = max(settings().max_examples // 10, 10)
schema: BaseSchema = schemathesis.openapi.from_dict(document())
if DRAWN == 10:
    # Of paths that lead to the same endpoint one will do.
    schema = schema.exclude(path_regex="^/v1/(.|page|screen|group|alias|import|openapi.json)$|^/healthz$")
FEEDS = ("events", "currents", "mparticle", "engagement", "sms", "nobodys", "..%2f..", "app")


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def headers_of(path: str, roundtrip: Roundtrip, feed: str) -> dict[str, str]:
    if path.startswith("/v2/") or feed == "mparticle":
        return {"Authorization": basic(MPARTICLE_SECRET)}
    if path.startswith("/v1/feeds/"):
        return {"Authorization": f"Bearer {VENDOR_SECRET}", "X-Roundtrip-Secret": PUSH_SECRET}
    if path in ("/v1/status", "/v1/clock"):
        return {"Authorization": f"Bearer {roundtrip.ours.token}"}
    return {"Authorization": basic(f"{WRITE_KEY}:")}


@schema.parametrize()
@settings(max_examples=DRAWN, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case: Any, roundtrip: Roundtrip) -> None:
    feed = ""
    if "feed" in (case.path_parameters or {}):
        feed = FEEDS[len(repr(case.body)) % len(FEEDS)]
        case.path_parameters["feed"] = feed
    case.call_and_validate(
        base_url=roundtrip.url,
        headers=headers_of(case.path, roundtrip, feed),
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
        timeout=30,
    )


def test_the_document_is_served(roundtrip: Roundtrip) -> None:
    assert roundtrip.http.get("/v1/openapi.json").json() == document()


@pytest.mark.parametrize("path", ["/v1/track", "/v1/feeds/events", "/v2/events"])
def test_other_methods_are_refused_with_those_there_are(roundtrip: Roundtrip, path: str) -> None:
    response = roundtrip.http.request("PUT", path)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]
