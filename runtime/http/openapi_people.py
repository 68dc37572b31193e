"""The document's paths of people and loops: who somebody is and was, what happened, and how loops do."""

from __future__ import annotations

from typing import Any

from runtime.http.openapi_parts import (
    API_TOKEN,
    OBJECT,
    TEXT,
    UNAUTHORIZED,
    answer,
    path_value,
    problem,
    query_value,
)
from runtime.timeline import MOST, PAGE

_NOBODY = "nobody is known by this identifier"
_UNMERGE = {
    "type": "object",
    "properties": {"who": TEXT, "from": {"type": ["string", "integer"]}},
    "required": ["who"],
}


def people_paths() -> dict[str, Any]:
    """By path."""
    unavailable = {"503": problem("the store does not answer")}
    refused = {"401": problem(UNAUTHORIZED), "404": problem(_NOBODY)} | unavailable
    number = {"type": "integer", "minimum": 1}
    who = path_value("who")
    return {
        "/v1/profiles/{who}": {
            "parameters": who,
            "get": {
                "summary": "What is known of the person that KIND:VALUE names, now or as of a position or a time",
                "security": API_TOKEN,
                "parameters": [query_value("as_of", TEXT)],
                "responses": {
                    "200": answer("the profile, as of a position", OBJECT),
                    "422": problem("no position and no time, or more records than are folded for an answer"),
                    **refused,
                },
            },
            "delete": {
                "summary": "Ask that this person be erased",
                "security": API_TOKEN,
                "responses": {"202": answer("it is asked for in the log", OBJECT), **refused},
            },
        },
        "/v1/profiles/{who}/timeline": {
            "parameters": who,
            "get": {
                "summary": "All that the log holds of a person, the newest first",
                "security": API_TOKEN,
                "parameters": [
                    query_value("before", number),
                    query_value("limit", number | {"maximum": MOST, "default": PAGE}),
                ],
                "responses": {
                    "200": answer("a page of records; `next` is `before` of the page after it", OBJECT),
                    "422": problem("a number that is none, or out of range"),
                    **refused,
                },
            },
        },
        "/v1/profiles/{who}/attributes/{name}": {
            "parameters": [*who, *path_value("name")],
            "get": {
                "summary": "Every value that was ever said of an attribute, the one that holds first",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("the values, each with what ranks it", OBJECT),
                    "422": problem("more records than are folded for an answer"),
                    **refused,
                },
            },
        },
        "/v1/trace/{id}": {
            "parameters": path_value("id"),
            "get": {
                "summary": "The whole circle of an outbound record, by its id, or of a row, by its position",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("the steps as a tree, each with when and what it is known by", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no person's row"),
                    "422": problem("more records than are read for an answer"),
                    **unavailable,
                },
            },
        },
        "/v1/audiences": {
            "get": {
                "summary": "Every declared audience with its size",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("by name, as of a position", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    **unavailable,
                },
            },
        },
        "/v1/audiences/{name}/members": {
            "parameters": path_value("name"),
            "get": {
                "summary": "Who is in an audience now",
                "security": API_TOKEN,
                "parameters": [query_value("after", TEXT | {"format": "uuid"}), query_value("limit", number)],
                "responses": {
                    "200": answer("a page of members; `next` is `after` of the page after it", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no such audience"),
                    "422": problem("no profile's id, or a number out of range"),
                    **unavailable,
                },
            },
        },
        "/v1/audiences/{name}/explain": {
            "parameters": path_value("name"),
            "get": {
                "summary": "Why somebody is in an audience or not, now or as of a position or a time",
                "security": API_TOKEN,
                "parameters": [query_value("who", TEXT) | {"required": True}, query_value("as_of", TEXT)],
                "responses": {
                    "200": answer(
                        "each clause, its value, the records behind it, what would change it", OBJECT
                    ),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no such audience, or nobody is known by this identifier"),
                    "422": problem("nobody is named, no position and no time, or too many records"),
                    **unavailable,
                },
            },
        },
        "/v1/loops": {
            "get": {
                "summary": "How each loop does, hop by hop",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("what was sent, what came back and how soon", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    **unavailable,
                },
            },
        },
        "/v1/loops/{name}/lift": {
            "parameters": path_value("name"),
            "get": {
                "summary": "How much more of those told convert than of those held out",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("by hop, the difference with its confidence interval", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no such loop, no conversion or no holdout declared"),
                    **unavailable,
                },
            },
        },
        "/v1/erasures/{id}": {
            "parameters": path_value("id"),
            "get": {
                "summary": "What has been done of an erasure",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("the certificate, as it stands now", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no such erasure, or the pipeline has not come to it yet"),
                    **unavailable,
                },
            },
        },
        "/v1/unmerges": {
            "post": {
                "summary": "Ask that one person be two: take an identifier out of its person",
                "security": API_TOKEN,
                "requestBody": {"required": True, "content": {"application/json": {"schema": _UNMERGE}}},
                "responses": {
                    "202": answer("it is asked for in the log; where the outcome will be", OBJECT),
                    "413": problem("a body that is too large"),
                    "422": problem("no such body, or nothing that could be cut"),
                    **refused,
                },
            },
        },
        "/v1/unmerges/{id}": {
            "parameters": path_value("id"),
            "get": {
                "summary": "What was done of a request to unmerge",
                "security": API_TOKEN,
                "responses": {
                    "200": answer("who the person is now", OBJECT),
                    "401": problem(UNAUTHORIZED),
                    "404": problem("no such request, the pipeline has not come to it yet, or it was refused"),
                    **unavailable,
                },
            },
        },
    }
