"""Google Analytics 4's Measurement Protocol: entering and leaving an audience as events of a client.

Source: developers.google.com/analytics/devguides/collection/protocol/ga4: sending-events, reference. It answers 2xx
to everything it got and tells of no mistake, so what it would drop is found out before: names, lengths, numbers. No
key for a repeated event is documented: where an answer is lost, an event may count twice. Fields: `client_id` (or
`app_instance_id`, with `firebase_app_id` as a setting), `user_id`; all others are parameters of the event.
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
    params = {**others(one.fields, who, "user_id"), "audience": one.audience}
    if not text(one, who) or len(params) > _MAX_PARAMS or not all(map(_usable, params, params.values())):
        return None
    setting = "entered_event" if one.change == "add" else "exited_event"
    event = {"name": config.settings.get(setting, _EVENTS[one.change]), "params": params}
    body: dict[str, Any] = {who: text(one, who), "events": [event]}
    if text(one, "user_id"):
        body["user_id"] = text(one, "user_id")
    query = urlencode({stream: config.settings[stream], "api_secret": config.secrets["api_secret"]})
    url = f"{base_url(config, BASE_URL)}/mp/collect?{query}"
    return Request("POST", url, {"content-type": "application/json"}, _encode(body), (one,))


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

CONNECTOR: Final = Connector(MAX_BATCH, frozenset({"add", "remove"}), check, render, judge, example=_EXAMPLE)
