"""A NATS subject: each change or event a CloudEvent in binary mode, kept by a JetStream stream that others read.

Source: github.com/cloudevents/spec, nats-protocol-binding. The record's own id is `Nats-Msg-Id` and `ce-id`, by which
the stream drops what is repeated within its window, and a reader knows it later. Fields: any.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import CHANGE_TYPES, all_are, refused, when
from adapters.connectors.settings import check_names, wrong
from domain.outbound import Outbound

MAX_BATCH: Final = 1_000

_SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_encode = msgspec.json.Encoder(order="deterministic").encode


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"subject"}, {"url"})
    if not _SUBJECT.fullmatch(str(config.settings.get("subject", ""))):
        raise wrong(config, "settings.subject", "is no subject without wildcards; write it as crm.audiences")
    if str(config.settings["subject"]).split(".")[0] == "roundtrip":
        raise wrong(
            config, "settings.subject", "begins with roundtrip, which is Roundtrip's own; name another"
        )


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """One request for the batch, whose messages keep the records' order."""
    subject = str(config.settings["subject"])
    messages = [{"subject": subject, "headers": _headers(one), "data": _data(one)} for one in outbound]
    return [Request("PUBLISH", f"nats:{subject}", {}, _encode(messages), tuple(outbound))] if messages else []


def _headers(one: Outbound) -> dict[str, str]:
    return {
        "Nats-Msg-Id": one.id,
        "ce-id": one.id,
        "ce-source": f"/roundtrip/connections/{one.connection}",
        "ce-specversion": "1.0",
        "ce-type": CHANGE_TYPES[one.change],
        "content-type": "application/json",
        **({"ce-time": when(one)} if one.change == "event" else {}),
    }


def _data(one: Outbound) -> dict[str, Any]:
    data: dict[str, Any] = {"fields": one.fields, "position": one.cause}
    if one.change == "event":
        return {**data, "event": one.event, "properties": one.properties}
    return {**data, "audience": one.audience}


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Each message again where one was not acknowledged: the stream drops those that it has."""
    return all_are(request, "delivered") if answer.status == 200 else refused("NATS", request, answer)


_EXAMPLE: Final = Example(
    {"subject": "crm.audiences"},
    {"url": "nats://user:password@nats.example.com:4222"},
    lambda n: {"user_id": f"user-{n}"},
    lambda request: Answer(200, {}, b"{}"),
    lambda request: [one["headers"]["Nats-Msg-Id"] for one in msgspec.json.decode(request.body)],
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "remove", "delete", "event"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    transport="nats",
)
