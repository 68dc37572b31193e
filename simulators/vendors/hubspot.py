"""HubSpot: contacts upserted in batches by their address, and deleted for good.

Source: developers.hubspot.com/docs/api-reference: crm/objects/contacts/batch/upsert-contacts,
gdpr/gdpr-delete-contact, error-handling; developer-tooling/platform/usage-guidelines.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, bearer, read_json, same

MAX_INPUTS: Final = 100
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_PROPERTY: Final = re.compile(r"[a-z][a-z0-9_]*")
#: A property of this name is one that the account never defined.
NO_PROPERTY: Final = "no_such_property"


def answer(call: Call, held: Held, secret: str) -> Reply:
    if not same(bearer(call), secret):
        raise Refused(
            "unauthorized", _error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found")
        )
    routes = {
        "/crm/v3/objects/contacts/batch/upsert": _upsert,
        "/crm/v3/objects/contacts/gdpr-delete": _delete,
    }
    if call.method != "POST" or call.path not in routes:
        raise Refused("unknown_path", _error(404, "OBJECT_NOT_FOUND", "resource not found"))
    body = read_json(call)
    if not isinstance(body, dict):
        raise _invalid("Invalid input JSON")
    return routes[call.path](body, held)


def _upsert(body: dict[str, Any], held: Held) -> Reply:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= MAX_INPUTS:
        raise _invalid(f"inputs has to have 1 to {MAX_INPUTS} objects")
    known = {"id", "idProperty", "properties", "objectWriteTraceId"}
    if not all(
        isinstance(one, dict) and set(one) <= known and isinstance(one.get("id"), str) for one in inputs
    ):
        raise _invalid("each of inputs has to have an id and properties")
    ids = [one["id"].lower() for one in inputs]
    if len(set(ids)) < len(ids):
        raise _invalid("Duplicate IDs found in batch input")
    traced = all(one.get("objectWriteTraceId") for one in inputs)
    errors, results = [], []
    for one in inputs:
        if wrong := _wrong(one):
            errors.append((one.get("objectWriteTraceId"), *wrong))
    if errors and not traced:
        raise Refused("invalid", _error(400, "VALIDATION_ERROR", errors[0][2]))
    bad = {trace for trace, *_ in errors}
    for one in inputs:
        if one.get("objectWriteTraceId") in bad:
            continue
        key = one["id"].lower()
        was = held.get("contacts", key) or {}
        new = held.put("contacts", key, {**was, **one["properties"], "email": key})
        results.append({"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, key).int)[:10], "new": new})
    if not errors:
        return Reply(200, {"status": "COMPLETE", "results": results})
    told = [
        {
            "status": "error",
            "category": category,
            "message": message,
            "context": {"objectWriteTraceId": [trace]},
        }
        for trace, category, message in errors
    ]
    return Reply(207, {"status": "COMPLETE", "results": results, "numErrors": len(told), "errors": told})


def _wrong(one: dict[str, Any]) -> tuple[str, str] | None:
    properties = one.get("properties")
    if one.get("idProperty") != "email" or not _EMAIL.fullmatch(one["id"]):
        return "VALIDATION_ERROR", "Email address is invalid"
    if not isinstance(properties, dict) or not all(
        isinstance(value, str | int | float | bool) for value in properties.values()
    ):
        return "VALIDATION_ERROR", "Property values were not valid"
    for name in properties:
        if not _PROPERTY.fullmatch(name) or name == NO_PROPERTY:
            return "VALIDATION_ERROR", f'Property "{name}" does not exist'
    return None


def _delete(body: dict[str, Any], held: Held) -> Reply:
    if set(body) - {"objectId", "idProperty"} or not isinstance(body.get("objectId"), str):
        raise _invalid("objectId is required")
    if body.get("idProperty") != "email":
        raise _invalid("idProperty has to be email here")
    held.drop("contacts", body["objectId"].lower())
    held.put("blocked", body["objectId"].lower(), True)
    return Reply(204)


def _error(status: int, category: str, message: str) -> Reply:
    return Reply(
        status,
        {
            "status": "error",
            "message": message,
            "category": category,
            "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf",
        },
    )


def _invalid(message: str) -> Refused:
    return Refused("invalid", _error(400, "VALIDATION_ERROR", message))


def refuse(status: int, code: int | None) -> Reply:
    if status != 429:
        return _error(status, "SCRIPTED", "Scripted fault")
    body = {
        "status": "error",
        "message": "You have reached your secondly limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24",
        "policyName": "SECONDLY",
        "requestId": "3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd",
    }
    return Reply(429, body)


def limits(limit: int, remaining: int, reset: float) -> Mapping[str, str]:
    return {
        "x-hubspot-ratelimit-max": str(limit),
        "x-hubspot-ratelimit-remaining": str(remaining),
        "x-hubspot-ratelimit-interval-milliseconds": "10000",
    }


HUBSPOT: Final = Vendor(answer, refuse, limits)
