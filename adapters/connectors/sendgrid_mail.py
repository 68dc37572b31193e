"""SendGrid: one mail to each of a batch of people, made of a dynamic template.

Source: twilio.com/docs/sendgrid: api-reference/mail-send/mail-send, mail-send/errors,
for-developers/sending-email/personalizations. Our ids go along as `custom_args` and come back with each event of the
Event Webhook. No key for a repeated request is documented: where SendGrid's answer is lost, a person may get the mail
twice. A mail cannot be taken back, so there are adds and events only. Fields: `email`; all others, and an event's
properties, are the template's data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import email
from adapters.connectors.judging import all_are, latest, others, parts, read, refused
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.engagement import events_of
from domain.outbound import Outbound

BASE_URL: Final = "https://api.sendgrid.com"
MAX_BATCH: Final = 1_000

_PLACE: Final = re.compile(r"personalizations\.(\d+)\b")
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Error(msgspec.Struct):
    field: str | None = None


class _Reply(msgspec.Struct):
    errors: list[_Error] = []


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "template_id", "from", "asm_group_id"}, {"api_key"})
    check_base_url(config, BASE_URL)
    if not re.fullmatch(r"d-[0-9a-f]+", str(config.settings.get("template_id"))):
        raise wrong(
            config, "settings.template_id", "is no dynamic template's id; copy the one that begins with d-"
        )
    if not email(config.settings.get("from")):
        raise wrong(config, "settings.from", "is no address; name a verified sender")
    if not isinstance(config.settings.get("asm_group_id", 0), int):
        raise wrong(config, "settings.asm_group_id", "is no number of an unsubscribe group")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """One request for the batch's adds; events, of which a person may have several, each in their turn."""
    adds = latest([one for one in outbound if one.change == "add"], _who)
    requests = [
        _request(config, [adds[who][-1] for who in some], [one for who in some for one in adds[who]])
        for some in parts(list(adds), MAX_BATCH)
    ]
    waiting = [one for one in outbound if one.change == "event" and _who(one)]
    while waiting:
        # SendGrid refuses an address that stands twice in a request.
        first = {_who(one): one for one in reversed(waiting)}
        chosen = [one for one in waiting if first[_who(one)] is one][:MAX_BATCH]
        requests.append(_request(config, chosen, chosen))
        sent = {one.id for one in chosen}
        waiting = [one for one in waiting if one.id not in sent]
    return requests


def _who(one: Outbound) -> str:
    return email(one.fields.get("email"))


def _request(config: ConnectorConfig, people: Sequence[Outbound], outbound: Sequence[Outbound]) -> Request:
    settings = config.settings
    body: dict[str, Any] = {
        "from": {"email": settings["from"]},
        "template_id": settings["template_id"],
        "personalizations": [_personalization(one) for one in people],
    }
    if "asm_group_id" in settings:
        body["asm"] = {"group_id": settings["asm_group_id"]}
    headers = {"authorization": f"Bearer {config.secrets['api_key']}", "content-type": "application/json"}
    return Request(
        "POST", f"{base_url(config, BASE_URL)}/v3/mail/send", headers, _encode(body), tuple(outbound)
    )


def _personalization(one: Outbound) -> dict[str, Any]:
    return {
        "to": [{"email": _who(one)}],
        "dynamic_template_data": {**others(one.fields, "email"), **one.properties},
        "custom_args": {"outbound_id": one.id, "outbound_batch": one.batch},
    }


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """A refusal that names people leaves the others to be sent again without them."""
    if answer.status == 202:
        return all_are(request, "delivered", reference=answer.headers.get("x-message-id", ""))
    reply = read(answer, _Reply)
    named = {
        int(found[1])
        for error in (reply.errors if reply else [])
        if error.field and (found := _PLACE.match(error.field))
    }
    if answer.status != 400 or not named:
        return refused("SendGrid", request, answer)
    order = {who: index for index, who in enumerate(latest(request.outbound, _who))}
    return [
        Judgement(one, "dead", "SendGrid refuses the recipient")
        if order[_who(one)] in named
        else Judgement(one, "retry", "SendGrid refused the request for another recipient's sake", after_s=0)
        for one in request.outbound
    ]


_EXAMPLE: Final = Example(
    {"template_id": "d-0123456789abcdef", "from": "hello@example.org"},
    {"api_key": "an-api-key"},
    lambda n: {"email": f"user{n}@example.com", "first_name": f"Name {n}"},
    lambda request: Answer(202, {"x-message-id": "m-1"}, b""),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "event"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"sendgrid"}),
    engagement=events_of("Email"),
    campaign="template_id",
)
