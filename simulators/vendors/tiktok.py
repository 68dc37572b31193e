"""TikTok API for Business: who is in which custom audience, by hashes (`/segment/mapping/`).

Source: business-api.tiktok.com/portal/docs, "Update the mapping of an audience segment", read only in excerpts:
the request's form is that of public clients; the batch's limit and the codes of errors are not confirmed.
Whatever goes wrong, the status is 200 and `code` is not 0.
"""

from __future__ import annotations

import re
from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, no_limits, read_json, same

#: Not published.
MAX_USERS: Final = 10_000
_SCHEMA: Final = frozenset(
    {"EMAIL_SHA256", "PHONE_SHA256", "IDFA_SHA256", "GAID_SHA256", "IDFA_MD5", "GAID_MD5", "AAID_SHA256"}
)
_is_hash: Final = re.compile(r"[0-9a-f]{64}").fullmatch
_INVALID: Final = 40002
_BAD_TOKEN: Final = 40105
_TOO_MANY: Final = 40100


def answer(call: Call, held: Held, secret: str) -> Reply:
    if call.method != "POST" or call.path != "/open_api/v1.3/segment/mapping/":
        raise Refused("unknown_path", Reply(404, "404 page not found"))
    if not same(call.headers.get("access-token", ""), secret):
        raise Refused("unauthorized", _said(_BAD_TOKEN, "Access token is incorrect or has been revoked."))
    body = read_json(call)
    known = {"advertiser_ids", "action", "id_schema", "batch_data"}
    if not isinstance(body, dict) or set(body) != known:
        raise _invalid("the body has to have advertiser_ids, action, id_schema and batch_data")
    if body["action"] not in ("add", "delete"):
        raise _invalid("action: must be one of add, delete")
    if not _ids(body["advertiser_ids"]):
        raise _invalid("advertiser_ids: must be ids")
    schema, users = body["id_schema"], body["batch_data"]
    if not isinstance(schema, list) or not schema or not set(schema) <= _SCHEMA:
        raise _invalid("id_schema: must be of the known types")
    if not isinstance(users, list) or not 1 <= len(users) <= MAX_USERS:
        raise _invalid(f"batch_data: must have 1 to {MAX_USERS} users")
    for user in users:
        _check(user, schema)
    for user in users:
        for kind, one in zip(schema, user, strict=True):
            for audience in one.get("audience_ids", []):
                if body["action"] == "add":
                    held.put(audience, f"{kind}={one['id']}", True)
                else:
                    held.drop(audience, f"{kind}={one['id']}")
    return _said(0, "OK")


def _check(user: Any, schema: list[str]) -> None:
    if not isinstance(user, list) or len(user) != len(schema) or not any(user):
        raise _invalid("batch_data: each user must have as many entries as id_schema")
    for one in user:
        if one == {}:
            continue
        if not isinstance(one, dict) or set(one) != {"id", "audience_ids"} or not _ids(one["audience_ids"]):
            raise _invalid("batch_data: each entry must have an id and audience_ids")
        if not isinstance(one["id"], str) or not _is_hash(one["id"]):
            raise _invalid("batch_data: an id must be a hash")


def _ids(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, str) and one.isdigit() for one in value)
    )


def _said(code: int, message: str) -> Reply:
    return Reply(200, {"code": code, "message": message, "request_id": "202611250000", "data": {}})


def _invalid(message: str) -> Refused:
    return Refused("invalid", _said(_INVALID, message))


def refuse(status: int, code: int | None) -> Reply:
    if status == 429:
        return _said(code or _TOO_MANY, "Too many requests. Please retry in some time.")
    reply = _said(code or 50000, "Scripted fault")
    return reply if code else Reply(status, reply.body)


TIKTOK: Final = Vendor(answer, refuse, no_limits)
