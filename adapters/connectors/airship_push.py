"""Airship: one push notification to a batch of named users.

Source: docs.airship.com/developer/rest-api/ua/operations/push and schemas/audience-selection; at most 1,000 selectors a
push (support.airship.com, limitations of the API). No key for a repeated request is documented: where Airship's answer
is lost, people may get the push twice. A push cannot be taken back, so there are adds only. Fields: `named_user_id`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from adapters.connectors.airship import BASE_URL, request
from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, latest, parts, read, refused, text, unreadable
from adapters.connectors.settings import check_base_url, check_names, wrong
from domain.engagement import events_of
from domain.outbound import Outbound

MAX_BATCH: Final = 1_000


class _Reply(msgspec.Struct):
    ok: bool = False
    error_code: int = 0
    push_ids: list[str] = []


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "app_key", "alert", "device_types"}, {"token"})
    check_base_url(config, BASE_URL)
    for name in ("app_key", "alert"):
        if not isinstance(config.settings.get(name), str) or not config.settings[name]:
            raise wrong(config, f"settings.{name}", "is missing or no text")
    kinds = config.settings.get("device_types", "all")
    if kinds != "all" and (not isinstance(kinds, list) or not all(isinstance(one, str) for one in kinds)):
        raise wrong(config, "settings.device_types", "is neither all nor a list such as [ios, android]")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Requests of at most `MAX_BATCH` people."""
    people = latest([one for one in outbound if one.change == "add"], lambda one: text(one, "named_user_id"))
    requests = []
    for some in parts(list(people), MAX_BATCH):
        body = {
            "audience": {"OR": [{"named_user": who} for who in some]},
            "device_types": config.settings.get("device_types", "all"),
            "notification": {"alert": config.settings["alert"]},
        }
        told = [one for who in some for one in people[who]]
        requests.append(request(config, "/api/push", body, told))
    return requests


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """The push's id comes back in the data stream."""
    reply = read(answer, _Reply)
    if answer.status not in (200, 202):
        code = f"error {reply.error_code}" if reply and reply.error_code else ""
        return refused("Airship", request, answer, code)
    if reply is None or not reply.ok:
        return unreadable("Airship", request)
    return all_are(request, "delivered", reference=reply.push_ids[0] if reply.push_ids else "")


_EXAMPLE: Final = Example(
    {"app_key": "an-app-key", "alert": "Hello"},
    {"token": "a-token"},
    lambda n: {"named_user_id": f"user-{n}"},
    lambda request: Answer(202, {}, b'{"ok": true, "push_ids": ["p-1"]}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"airship"}),
    engagement=events_of("Push"),
)
