"""Braze: `/users/track`, `/users/delete` and `/campaigns/trigger/send`.

Source: braze.com/docs/api: endpoints/user_data/post_user_track, post_user_delete,
endpoints/messaging/send_messages/post_send_triggered_campaigns, objects_filters, api_limits, errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, bearer, read_json, same

MAX_TRACKED: Final = 75
MAX_DELETED: Final = 50
MAX_RECIPIENTS: Final = 50
_PARTS: Final = ("attributes", "events", "purchases")
_IDS: Final = ("external_id", "user_alias", "braze_id", "email", "phone")
_DELETABLE: Final = ("external_ids", "user_aliases", "braze_ids", "email_addresses", "phone_numbers")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?")


def answer(call: Call, held: Held, secret: str) -> Reply:
    routes = {"/users/track": _track, "/users/delete": _delete, "/campaigns/trigger/send": _send}
    if call.path not in routes or call.method != "POST":
        raise Refused("unknown_path", Reply(404, {"message": "Not Found"}))
    if not same(bearer(call), secret):
        raise Refused("unauthorized", Reply(401, {"message": "Invalid API Key"}))
    body = read_json(call)
    if not isinstance(body, dict):
        raise Refused("invalid", Reply(400, {"message": "Bad Request"}))
    return routes[call.path](body, held)


def _track(body: dict[str, Any], held: Held) -> Reply:
    given = {part: body[part] for part in _PARTS if part in body}
    if not all(isinstance(items, list) for items in given.values()) or not any(given.values()):
        raise _fatal("Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.")
    if sum(map(len, given.values())) > MAX_TRACKED:
        raise _fatal(f"The request has more than {MAX_TRACKED} objects")
    errors: list[dict[str, Any]] = []
    processed = dict.fromkeys(given, 0)
    taken = []
    for part, items in given.items():
        for index, item in enumerate(items):
            if wrong := _wrong(part, item):
                errors.append({"type": wrong, "input_array": part, "index": index})
            else:
                processed[part] += 1
                taken.append((part, item))
    if not taken:
        raise _fatal(
            "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.", errors
        )
    for part, item in taken:
        if part == "attributes":
            _update(held, item)
        else:
            held.append(part, item)
    said = {"message": "success", **{f"{part}_processed": n for part, n in processed.items()}}
    return Reply(201, said | ({"errors": errors} if errors else {}))


def _wrong(part: str, item: Any) -> str:
    if not isinstance(item, dict):
        return "The object is not valid"
    named = [name for name in _IDS if name in item]
    if not named or ("external_id" in item and not _is_id(item["external_id"])):
        return "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
    if part == "events" and (not isinstance(item.get("name"), str) or not item["name"]):
        return "'name' is required"
    if part == "events" and not _is_time(item.get("time")):
        return "'time' is not a valid time"
    if part == "purchases" and not isinstance(item.get("price"), int | float):
        return "'price' is not valid"
    return ""


def _update(held: Held, item: dict[str, Any]) -> None:
    name = next(name for name in _IDS if name in item)
    user = held.get("users", str(item[name])) or {}
    for key, value in item.items():
        if isinstance(value, dict) and value and set(value) <= {"add", "remove"}:
            kept = [one for one in user.get(key, []) if one not in value.get("remove", [])]
            user[key] = kept + [one for one in value.get("add", []) if one not in kept]
        elif value is None:
            user.pop(key, None)
        else:
            user[key] = value
    held.put("users", str(item[name]), user)


def _delete(body: dict[str, Any], held: Held) -> Reply:
    kinds = [kind for kind in _DELETABLE if kind in body]
    if len(kinds) != 1 or not isinstance(body[kinds[0]], list) or not 1 <= len(body[kinds[0]]) <= MAX_DELETED:
        raise _fatal(f"Exactly one of {', '.join(_DELETABLE)} with 1 to {MAX_DELETED} values is required")
    deleted = sum(held.drop("users", str(one)) for one in body[kinds[0]])
    for one in body[kinds[0]]:
        held.put("deleted", str(one), kinds[0])
    return Reply(200, {"deleted": deleted, "message": "success"})


def _send(body: dict[str, Any], held: Held) -> Reply:
    recipients = body.get("recipients")
    if not isinstance(body.get("campaign_id"), str):
        raise _fatal("'campaign_id' is required")
    if not isinstance(recipients, list) or not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise _fatal(f"'recipients' has to have 1 to {MAX_RECIPIENTS} objects")
    if not all(isinstance(one, dict) and _is_id(one.get("external_user_id")) for one in recipients):
        raise _fatal("each of 'recipients' needs an 'external_user_id'")
    dispatch_id = f"{held.counted('requests'):032x}"
    for one in recipients:
        held.append("sent", {**one, "campaign_id": body["campaign_id"], "dispatch_id": dispatch_id})
    return Reply(201, {"dispatch_id": dispatch_id, "message": "success"})


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value.encode()) <= 997


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _fatal(message: str, errors: list[Any] | None = None) -> Refused:
    return Refused("invalid", Reply(400, {"message": message} | ({"errors": errors} if errors else {})))


def refuse(status: int, code: int | None) -> Reply:
    return Reply(status, {"message": "Rate limit exceeded" if status == 429 else "Scripted fault"})


def limits(limit: int, remaining: int, reset: float) -> Mapping[str, str]:
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(int(reset) + 1),
    }


BRAZE: Final = Vendor(answer, refuse, limits)
