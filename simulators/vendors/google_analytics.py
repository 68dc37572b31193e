"""Google Analytics 4's Measurement Protocol: events of a client. It says 204 to everything and keeps what is valid.

Source: developers.google.com/analytics/devguides/collection/protocol/ga4: sending-events, reference,
validating-events.
"""

from __future__ import annotations

import re
from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, no_limits, read_json, same

MAX_EVENTS: Final = 25
MAX_BODY: Final = 130 * 1024
_MAX_PARAMS: Final = 25
_OLDEST_S: Final = 72 * 3600
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_RESERVED: Final = frozenset(
    {
        *("ad_activeview", "ad_click", "ad_exposure", "ad_query", "ad_reward", "adunit_exposure"),
        *("app_clear_data", "app_exception", "app_install", "app_remove", "app_store_refund"),
        *("app_update", "app_upgrade", "dynamic_link_app_open", "dynamic_link_app_update"),
        *("dynamic_link_first_open", "error", "firebase_campaign", "first_open", "first_visit"),
        *("notification_dismiss", "notification_foreground", "notification_open"),
        *("notification_receive", "os_update", "session_start", "user_engagement"),
    }
)
_PREFIXES: Final = ("_", "firebase_", "ga_", "google_", "gtag.")
_BODY: Final = frozenset(
    {
        *("client_id", "app_instance_id", "user_id", "timestamp_micros", "user_properties"),
        *("user_data", "consent", "non_personalized_ads", "user_location", "ip_override", "device"),
        *("validation_behavior", "events"),
    }
)


def answer(call: Call, held: Held, secret: str) -> Reply:
    debug = call.path == "/debug/mp/collect"
    if call.method != "POST" or not (debug or call.path == "/mp/collect"):
        raise Refused("unknown_path", Reply(404, "Not Found"))
    messages = list(_wrong(call, secret))
    if debug:
        return Reply(200, {"validationMessages": messages})
    if messages:
        # As the vendor: nothing is said, and nothing is kept.
        held.count("rejected.silently")
        return Reply(204)
    body = read_json(call)
    for event in body["events"]:
        kept = {key: body[key] for key in body if key != "events"}
        held.append("events", {**kept, **event, "stream": call.query.get("measurement_id")})
    return Reply(204)


def _wrong(call: Call, secret: str) -> list[dict[str, str]]:
    if not same(call.query.get("api_secret", ""), secret):
        return [_message("api_secret", "The api_secret is not known.", "VALUE_INVALID")]
    if not call.query.get("measurement_id") and not call.query.get("firebase_app_id"):
        return [_message("measurement_id", "A stream is required.", "VALUE_REQUIRED")]
    if len(call.body) > MAX_BODY:
        return [_message("", "The body is larger than 130kB.", "EXCEEDED_MAX_ENTITIES")]
    body = read_json(call)
    if not isinstance(body, dict) or set(body) - _BODY:
        return [_message("", "Unable to parse Measurement Protocol JSON payload.", "VALUE_INVALID")]
    wrong = []
    who = "client_id" if call.query.get("measurement_id") else "app_instance_id"
    if not isinstance(body.get(who), str) or not body[who]:
        wrong.append(_message(who, f"Measurement requires a {who}.", "VALUE_REQUIRED"))
    at = body.get("timestamp_micros", call.now * 1e6)
    if not isinstance(at, int | float) or not call.now - _OLDEST_S <= at / 1e6 <= call.now + 900:
        wrong.append(_message("timestamp_micros", "The time is out of bounds.", "VALUE_OUT_OF_BOUNDS"))
    events = body.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
        return [*wrong, _message("events", f"1 to {MAX_EVENTS} events go.", "EXCEEDED_MAX_ENTITIES")]
    for index, event in enumerate(events):
        wrong += _wrong_event(event, index)
    return wrong


def _wrong_event(event: Any, index: int) -> list[dict[str, str]]:
    name = event.get("name") if isinstance(event, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return [_message("events", f"Event at index: [{index}] has invalid name.", "NAME_INVALID")]
    if name in _RESERVED or name.startswith(_PREFIXES):
        return [_message("events", f"Event at index: [{index}] has a reserved name.", "NAME_RESERVED")]
    params = event.get("params", {})
    if not isinstance(params, dict) or len(params) > _MAX_PARAMS:
        return [_message("events.params", f"Event [{index}] has too many params.", "EXCEEDED_MAX_ENTITIES")]
    for key, value in params.items():
        if not _NAME.fullmatch(key) or key.startswith(_PREFIXES):
            return [_message("events.params", f"Event [{index}] has an invalid param.", "NAME_INVALID")]
        if isinstance(value, str) and len(value) > 100:
            return [_message("events.params", f"Event [{index}] has a long value.", "VALUE_INVALID")]
    return []


def _message(path: str, description: str, code: str) -> dict[str, str]:
    return {"fieldPath": path, "description": description, "validationCode": code}


def refuse(status: int, code: int | None) -> Reply:
    return Reply(status, "Scripted fault")


GOOGLE_ANALYTICS: Final = Vendor(answer, refuse, no_limits)
