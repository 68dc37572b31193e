"""The HTTP API as an OpenAPI 3.1 document, served at `/v1/openapi.json`.

What vendors send is theirs to describe: their payloads are objects and lists here, and their own documentation is
named in docs/reference/feeds.md. A test holds that every route is in it, and that answers are as it says.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.bus_contract import asyncapi
from runtime.http.openapi_parts import API_TOKEN, OBJECT, TEXT, UNAUTHORIZED, Schema, answer, problem, ref
from runtime.http.openapi_people import people_paths

_ID: Final[Schema] = {"type": ["string", "integer", "null"], "maxLength": 512}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TYPES: Final = ["track", "identify", "page", "screen", "group", "alias"]

_SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": {
        "description": "RFC 9457",
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "instance": TEXT,
            "request_id": TEXT,
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Error"}},
        },
    },
    "Error": {
        "type": "object",
        "required": ["pointer", "code", "detail"],
        "properties": {"pointer": TEXT, "code": TEXT, "detail": TEXT},
    },
    "Call": {
        "description": "One call, as Segment's HTTP tracking API has it; all else that it holds is kept.",
        "type": "object",
        "properties": {
            "type": {"enum": _TYPES},
            "userId": _ID,
            "anonymousId": _ID,
            "previousId": _ID,
            "event": {"type": "string", "maxLength": 512},
            "name": {"type": ["string", "null"], "maxLength": 512},
            "messageId": _ID,
            "timestamp": _TIME,
            "originalTimestamp": _TIME,
            "sentAt": _TIME,
            "properties": {"type": ["object", "null"]},
            "traits": {"type": ["object", "null"]},
            "context": {"type": ["object", "null"]},
            "integrations": OBJECT,
            "writeKey": TEXT,
        },
    },
    "Batch": {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "items": {"$ref": "#/components/schemas/Call"}},
            "sentAt": _TIME,
            "writeKey": TEXT,
        },
    },
    "Success": {
        "type": "object",
        "required": ["success"],
        "properties": {
            "success": {"const": True},
            "refused": {"type": "array", "items": {"$ref": "#/components/schemas/Error"}},
        },
    },
    "Taken": {
        "type": "object",
        "required": ["accepted", "duplicates"],
        "properties": {
            "accepted": {"type": "integer", "minimum": 0},
            "duplicates": {"type": "integer", "minimum": 0},
            "refused": {"type": "array", "items": {"$ref": "#/components/schemas/Error"}},
        },
    },
    "MParticleBatch": {
        "type": "object",
        "required": ["environment"],
        "properties": {
            "environment": {"enum": ["production", "development"]},
            "events": {"type": ["array", "null"], "items": OBJECT},
            "user_identities": OBJECT,
            "user_attributes": OBJECT,
            "device_info": OBJECT,
            "consent_state": OBJECT,
            "source_request_id": TEXT,
            "mpid": {"type": "integer"},
        },
    },
}
#: What may be answered to anything that has a body; each is a problem.
_REFUSALS: Final = {
    "400": "not what the format is made of",
    "401": "the credentials are missing or wrong",
    "408": "it does not come in time",
    "413": "more than is taken at once",
    "415": "an encoding or kind of content that is not taken",
    "422": "well formed, and not allowed",
    "429": "too much is waiting: send the same again after Retry-After",
    "503": "the store does not answer: send the same again after Retry-After",
}
_WRITE_KEY: Final[list[dict[str, list[str]]]] = [{"writeKey": []}]


def contract_routes() -> list[Route]:
    """This API's own document, and that of the bus."""

    async def http(request: Request) -> Response:
        return Response(_DOCUMENT, 200, media_type="application/json")

    async def bus(request: Request) -> Response:
        return Response(msgspec.json.encode(asyncapi()), 200, media_type="application/json")

    return [
        Route("/v1/openapi.json", http, methods=["GET"]),
        Route("/v1/asyncapi.json", bus, methods=["GET"]),
    ]


def document() -> Schema:
    """The whole document."""
    call, batch = ref("Call"), ref("Batch")
    success = {"200": answer("durable in the log", ref("Success"))}
    calls = {
        f"/v1/{path}": {"post": _operation(f"A call of type {kind}", call, success, _WRITE_KEY)}
        for kind in _TYPES
        for path in (kind, kind[0])
    }
    batches = {
        f"/v1/{path}": {"post": _operation("Many calls", batch, success, _WRITE_KEY)}
        for path in ("batch", "import", "b")
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Roundtrip", "version": version("roundtrip")},
        "paths": calls | batches | _feeds() | _operators(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "writeKey": {"type": "http", "scheme": "basic"},
                "apiToken": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _feeds() -> dict[str, Schema]:
    taken = {"202": {"description": "durable in the log"}, "403": problem("the key is nobody's")}
    webhook = {
        "200": answer("durable in the log", ref("Taken")),
        "207": answer("the good items are durable, the bad ones in quarantine", ref("Taken")),
        "404": problem("no such feed"),
    }
    one, many = ref("MParticleBatch"), {"type": "array", "items": ref("MParticleBatch"), "maxItems": 100}
    anything = {"type": ["object", "array"]}
    feed = [{"name": "feed", "in": "path", "required": True, "schema": TEXT}]
    key = [{"name": "key", "in": "path", "required": True, "schema": TEXT}]
    return {
        "/v2/events": {"post": _operation("mParticle's Events API", one, taken, _WRITE_KEY)},
        "/v2/bulkevents": {
            "post": _operation("mParticle's Events API, many batches", many, taken, _WRITE_KEY)
        },
        "/v1/feeds/{feed}": {
            "parameters": feed,
            "post": _operation("A vendor's webhook, verified as its format says", anything, webhook, []),
            "options": {
                "summary": "Whether webhooks are wanted (CloudEvents' http-webhook)",
                "responses": {
                    "200": {"description": "they are"},
                    "404": problem("no such feed"),
                    "503": problem("the feed cannot be used"),
                },
            },
        },
        "/v1/projects/{key}/settings": {
            "parameters": key,
            "get": {
                "summary": "What Segment's browser client asks for first",
                "responses": {
                    "200": answer("where to send", OBJECT),
                    "404": problem("no feed has this write key"),
                    "503": problem("the store does not answer"),
                },
            },
        },
    }


def _operators() -> dict[str, Schema]:
    unavailable = problem("the store does not answer")
    told = {
        "200": answer("the log's time", OBJECT),
        "409": problem("this workspace's clock is the wall's"),
    }
    to = {"type": "object", "required": ["to"], "properties": {"to": _TIME}}
    return {
        "/v1/status": {
            "get": {
                "summary": "Where everything stands",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("positions, lags and counts", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "503": unavailable,
                },
            }
        },
        "/metrics": {
            "get": {
                "summary": "The same, as Prometheus reads it",
                "security": API_TOKEN,
                "responses": {
                    "200": {"description": "metrics", "content": {"text/plain": {"schema": TEXT}}},
                    "401": problem(UNAUTHORIZED),
                    "503": unavailable,
                },
            }
        },
        **people_paths(),
        "/v1/clock": {"post": _operation("Tell a simulated clock the time", to, told, API_TOKEN)},
        "/v1/openapi.json": {
            "get": {"summary": "This document", "responses": {"200": answer("OpenAPI 3.1", OBJECT)}}
        },
        "/v1/asyncapi.json": {
            "get": {"summary": "The bus's document", "responses": {"200": answer("AsyncAPI 3.0", OBJECT)}}
        },
        "/healthz": {
            "get": {"summary": "This process answers", "responses": {"200": answer("it does", OBJECT)}}
        },
    }


def _operation(
    summary: str, body: Schema, answers: dict[str, Schema], security: list[dict[str, list[str]]]
) -> Schema:
    found: Schema = {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": answers | {status: problem(what) for status, what in _REFUSALS.items()},
    }
    return found | ({"security": security} if security else {})


_DOCUMENT: Final = msgspec.json.encode(document())
