"""Airship: pushes, tags of named users, custom events, and named users uninstalled. Pure but for what it holds.

Source: docs.airship.com/developer/rest-api/ua/operations: push, tags, named-users, custom-events,
data-privacy-laws-compliance. The numbers of its error codes are not confirmed.
"""

from __future__ import annotations

from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, basic, bearer, no_limits, read_json, same

MAX_TAGGED: Final = 1_000
MAX_UNINSTALLED: Final = 100
MAX_EVENTS: Final = 100
MAX_SELECTORS: Final = 1_000
_MAX_TAGS: Final = 100
_MAX_TEXT: Final = 128
_MAX_PROPERTY: Final = 255
_ACCEPT: Final = "application/vnd.urbanairship+json; version=3"
_TYPE: Final = {"content-type": "application/vnd.urbanairship+json; version=3"}


def answer(call: Call, held: Held, secret: str) -> Reply:
    routes = {
        "/api/named_users/tags": _tag,
        "/api/named_users/uninstall": _uninstall,
        "/api/custom-events": _events,
        "/api/push": _push,
    }
    path = call.path.rstrip("/")
    if path not in routes or call.method != "POST":
        raise Refused("unknown_path", _error(404, 40400, "Not found"))
    app_key, password = basic(call)
    if path == "/api/custom-events":
        known = same(bearer(call), secret) and bool(call.headers.get("x-ua-appkey"))
    else:
        known = (bool(app_key) and same(password, secret)) or same(bearer(call), secret)
    if not known:
        raise Refused("unauthorized", Reply(401, "Unauthorized"))
    if call.headers.get("accept", "").rstrip(";") != _ACCEPT:
        raise Refused("accept", _error(406, 40600, f"Accept has to be {_ACCEPT}"))
    if not call.headers.get("content-type", "").startswith("application/json"):
        raise Refused("content_type", _error(415, 41500, "Content-Type has to be application/json"))
    return routes[path](read_json(call), held)


def _tag(body: Any, held: Held) -> Reply:
    if not isinstance(body, dict) or not isinstance(body.get("audience"), dict):
        raise _invalid("audience is required")
    users = body["audience"].get("named_user_id")
    users = [users] if isinstance(users, str) else users
    if set(body["audience"]) != {"named_user_id"} or not _texts(users, MAX_TAGGED):
        raise _invalid(f"audience.named_user_id has to be 1 to {MAX_TAGGED} strings")
    changes = {name: body[name] for name in ("add", "remove", "set") if name in body}
    if set(body) - {"audience", *changes} or not changes or ("set" in changes and len(changes) > 1):
        raise _invalid("one of add, remove, or set alone is required")
    for groups in changes.values():
        if not isinstance(groups, dict) or not all(_texts(tags, _MAX_TAGS) for tags in groups.values()):
            raise _invalid(f"a tag group has to be 1 to {_MAX_TAGS} tags of 1 to {_MAX_TEXT} characters")
        if any(group.startswith("ua_") or len(group) > _MAX_TEXT for group in groups):
            raise _invalid("a tag group's name has at most 128 characters, and ua_ is reserved")
    for user in users:
        known = held.get("named_users", user) or {}
        for change, groups in changes.items():
            for group, tags in groups.items():
                was = set() if change == "set" else set(known.get(group, []))
                known[group] = sorted(was - set(tags) if change == "remove" else was | set(tags))
        held.put("named_users", user, known)
    return Reply(200, {"ok": True}, _TYPE)


def _uninstall(body: Any, held: Held) -> Reply:
    users = body.get("named_user_id") if isinstance(body, dict) and set(body) == {"named_user_id"} else None
    if not isinstance(users, list) or not _texts(users, MAX_UNINSTALLED):
        raise _invalid(f"named_user_id has to be an array of 1 to {MAX_UNINSTALLED} strings")
    for user in users:
        held.drop("named_users", user)
        held.put("uninstalled", user, True)
    return Reply(200, {"ok": True}, _TYPE)


def _events(body: Any, held: Held) -> Reply:
    if not isinstance(body, list) or not 1 <= len(body) <= MAX_EVENTS:
        raise _invalid(f"the body has to be an array of 1 to {MAX_EVENTS} events")
    for index, event in enumerate(body):
        if not isinstance(event, dict) or set(event) - {"occurred", "user", "body"}:
            raise _invalid(f"[{index}] is no custom event")
        user, said = event.get("user"), event.get("body")
        if not isinstance(user, dict) or not isinstance(user.get("named_user_id"), str):
            raise _invalid(f"[{index}].user has to name a named_user_id")
        said = said if isinstance(said, dict) else {}
        name = said.get("name")
        if not isinstance(name, str) or not name or name != name.lower():
            raise _invalid(f"[{index}].body.name is required, and has no upper-case characters")
        properties = said.get("properties", {})
        if not isinstance(properties, dict) or any(
            isinstance(value, str) and len(value) > _MAX_PROPERTY for value in properties.values()
        ):
            raise _invalid(f"[{index}].body.properties has strings of at most {_MAX_PROPERTY} characters")
    for event in body:
        held.append("events", event)
    return Reply(200, {"ok": True, "operation_id": f"op-{held.counted('requests')}"}, _TYPE)


def _push(body: Any, held: Held) -> Reply:
    if not isinstance(body, dict) or not {"audience", "device_types", "notification"} <= set(body):
        raise _invalid("audience, device_types and notification are required")
    audience, notification = body["audience"], body["notification"]
    selectors = audience.get("OR") if isinstance(audience, dict) and set(audience) == {"OR"} else [audience]
    if not isinstance(selectors, list) or not 1 <= len(selectors) <= MAX_SELECTORS:
        raise _invalid(f"audience has 1 to {MAX_SELECTORS} selectors")
    if not all(isinstance(one, dict) and _texts(list(one.values()), 1) for one in selectors):
        raise _invalid("each selector of audience has one name and one text")
    if not isinstance(notification, dict) or not isinstance(notification.get("alert"), str):
        raise _invalid("notification.alert is required")
    push_id = f"push-{held.counted('requests')}"
    for one in selectors:
        held.append("pushed", {**one, "alert": notification["alert"], "push_id": push_id})
    return Reply(202, {"ok": True, "operation_id": f"op-{push_id}", "push_ids": [push_id]}, _TYPE)


def _texts(value: Any, most: int) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= most
        and all(isinstance(one, str) and 1 <= len(one) <= _MAX_TEXT and one == one.strip() for one in value)
    )


def _error(status: int, code: int, message: str) -> Reply:
    return Reply(status, {"ok": False, "error": message, "error_code": code}, _TYPE)


def _invalid(message: str) -> Refused:
    return Refused("invalid", _error(400, 40002, message))


def refuse(status: int, code: int | None) -> Reply:
    return _error(status, code or status * 100, "Scripted fault")


AIRSHIP: Final = Vendor(answer, refuse, no_limits)
