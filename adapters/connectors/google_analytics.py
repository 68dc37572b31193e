"""Google Analytics 4's Measurement Protocol: events of a client, and audiences entered and left as such.

Source: developers.google.com/analytics/devguides/collection/protocol/ga4: sending-events, reference. It answers 2xx
to everything it got and tells of no mistake, so what it would drop is found out before: names, lengths, numbers. No
key for a repeated event is documented: where an answer is lost, an event may count twice. `Order Completed` is
`order_completed` there. Fields: `client_id` (or `app_instance_id`, with `firebase_app_id` as a setting), `user_id`;
all others are parameters of the event, as its properties are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, others, refused, text
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://www.google-analytics.com"
#: Records of a batch; a request is of one client.
MAX_BATCH: Final = 100

_MAX_PARAMS: Final = 25
_MAX_VALUE: Final = 100
_NAME: Final = re.compile(r"(?!firebase_|ga_|google_)[A-Za-z][A-Za-z0-9_]{0,39}")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9_]+")
#: Names that Google keeps for itself.
_RESERVED: Final = frozenset(
    {
        *("ad_activeview", "ad_click", "ad_exposure", "ad_query", "ad_reward", "adunit_exposure"),
        *("app_clear_data", "app_exception", "app_install", "app_remove", "app_store_refund", "app_update"),
        *("app_upgrade", "dynamic_link_app_open", "dynamic_link_app_update", "dynamic_link_first_open"),
        *("error", "first_open", "first_visit", "notification_dismiss", "notification_foreground"),
        *("notification_open", "notification_receive", "os_update", "session_start", "user_engagement"),
    }
)
_STREAMS: Final = {"measurement_id": "client_id", "firebase_app_id": "app_instance_id"}
_EVENTS: Final = {"add": "audience_entered", "remove": "audience_exited"}
_encode = msgspec.json.Encoder(order="deterministic").encode


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    names = {f"{what}_event" for what in ("entered", "exited")}
    check_names(config, {"base_url", *_STREAMS, *names}, {"api_secret"})
    check_base_url(config, BASE_URL)
    if len(set(_STREAMS) & set(config.settings)) != 1:
        raise wrong(
            config, "settings.measurement_id", "or firebase_app_id is needed: name the stream by one of them"
        )
    for name in names:
        if name in config.settings and not _NAME.fullmatch(str(config.settings[name])):
            raise wrong(
                config, f"settings.{name}", "is no name of an event: letters, digits and _, at most 40"
            )


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """A request for each record, in their order."""
    requests = (_request(config, one) for one in outbound)
    return [request for request in requests if request is not None]


def _request(config: ConnectorConfig, one: Outbound) -> Request | None:
    stream = next(name for name in _STREAMS if name in config.settings)
    who = _STREAMS[stream]
    event = one.change == "event"
    params = {
        **others(one.fields, who, "user_id"),
        **(one.properties if event else {"audience": one.audience}),
    }
    name = _NOT_IN_NAMES.sub("_", one.event.lower()) if event else _change_name(config, one)
    if not text(one, who) or not _NAME.fullmatch(name) or name in _RESERVED:
        return None
    if len(params) > _MAX_PARAMS or not all(map(_usable, params, params.values())):
        return None
    body: dict[str, Any] = {who: text(one, who), "events": [{"name": name, "params": params}]}
    if event:
        body["timestamp_micros"] = one.occurred_at
    if text(one, "user_id"):
        body["user_id"] = text(one, "user_id")
    query = urlencode({stream: config.settings[stream], "api_secret": config.secrets["api_secret"]})
    url = f"{base_url(config, BASE_URL)}/mp/collect?{query}"
    return Request("POST", url, {"content-type": "application/json"}, _encode(body), (one,))


def _change_name(config: ConnectorConfig, one: Outbound) -> str:
    setting = "entered_event" if one.change == "add" else "exited_event"
    return str(config.settings.get(setting, _EVENTS[one.change]))


def _usable(name: str, value: Any) -> bool:
    if not _NAME.fullmatch(name):
        return False
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _MAX_VALUE)


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Delivered means that it arrived."""
    if 200 <= answer.status < 300:
        return all_are(request, "delivered")
    return refused("Google Analytics", request, answer)


_EXAMPLE: Final = Example(
    {"measurement_id": "G-ABC123"},
    {"api_secret": "an-api-secret"},
    lambda n: {"client_id": f"1234.{n:08}", "plan": f"plan {n}"},
    lambda request: Answer(204, {}, b""),
    in_url=frozenset({"api_secret"}),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "event"}), check, render, judge, example=_EXAMPLE
)
