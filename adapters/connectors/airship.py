"""Airship: audiences as tags of named users, and events as custom events; whoever is erased is uninstalled.

Source: docs.airship.com/developer/rest-api/ua/operations: tags, custom-events, data-privacy-laws-compliance.
Adding and removing a tag twice is as once, so a repeated request needs no key; for events none is documented: where an
answer is lost, one may count twice. Names of events have no upper case at Airship. Fields: `named_user_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, latest, parts, read, refused, text, unreadable, when
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://go.urbanairship.com"
MAX_BATCH: Final = 1_000
MAX_UNINSTALLED: Final = 100
MAX_EVENTS: Final = 100

_GROUP_LIMIT: Final = 128
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    ok: bool = False
    error_code: int = 0


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "app_key", "tag_group"}, {"token"})
    check_base_url(config, BASE_URL)
    for name in ("app_key", "tag_group"):
        value = config.settings.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= _GROUP_LIMIT or not value.isprintable():
            raise wrong(config, f"settings.{name}", "is missing or no text; copy it from Airship's dashboard")
    if str(config.settings["tag_group"]).startswith("ua_"):
        raise wrong(
            config, "settings.tag_group", "begins with ua_, which Airship reserves; name another group"
        )


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Uninstalls, removals, adds, then events: the tag is the audience's name."""
    people = latest([one for one in outbound if one.change != "event"], _who)
    requests = []
    gone = [who for who, several in people.items() if several[-1].change == "delete"]
    for some in parts(gone, MAX_UNINSTALLED):
        told = [one for who in some for one in people[who]]
        requests.append(request(config, "/api/named_users/uninstall", {"named_user_id": list(some)}, told))
    for change in ("remove", "add"):
        tagged: dict[str, list[str]] = {}
        for who, several in people.items():
            if several[-1].change == change:
                tagged.setdefault(several[-1].audience, []).append(who)
        for audience, users in tagged.items():
            for some in parts(users, MAX_BATCH):
                body = {
                    "audience": {"named_user_id": list(some)},
                    change: {config.settings["tag_group"]: [audience]},
                }
                told = [one for who in some for one in people[who]]
                requests.append(request(config, "/api/named_users/tags", body, told))
    events = [one for one in outbound if one.change == "event" and _who(one)]
    for records in parts(events, MAX_EVENTS):
        told_of = [_event(one) for one in records]
        requests.append(request(config, "/api/custom-events", told_of, records))
    return requests


def _who(one: Outbound) -> str:
    return text(one, "named_user_id")


def _event(one: Outbound) -> dict[str, Any]:
    said: dict[str, Any] = {"name": one.event.lower()}
    if one.properties:
        said["properties"] = one.properties
    return {"occurred": when(one), "user": {"named_user_id": _who(one)}, "body": said}


def request(config: ConnectorConfig, path: str, body: Any, outbound: Sequence[Outbound]) -> Request:
    headers = {
        "authorization": f"Bearer {config.secrets['token']}",
        "x-ua-appkey": config.settings["app_key"],
        "accept": "application/vnd.urbanairship+json; version=3",
        "content-type": "application/json",
    }
    return Request("POST", base_url(config, BASE_URL) + path, headers, _encode(body), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Airship takes a request whole or not at all. A named user that it does not know yet becomes one."""
    reply = read(answer, _Reply)
    if answer.status not in (200, 202):
        return refused(
            "Airship", request, answer, f"error {reply.error_code}" if reply and reply.error_code else ""
        )
    return all_are(request, "delivered") if reply and reply.ok else unreadable("Airship", request)


_EXAMPLE: Final = Example(
    {"app_key": "an-app-key", "tag_group": "roundtrip"},
    {"token": "a-token"},
    lambda n: {"named_user_id": f"user-{n}"},
    lambda request: Answer(200, {}, b'{"ok": true}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete", "event"}), check, render, judge, example=_EXAMPLE
)
