"""Any server that takes Segment's HTTP API, such as another Roundtrip: audiences as traits of people, and events.

Source: segment.com/docs/connections/sources/catalog/libraries/server/http-api and
docs/engage/using-engage-data: `identify` with a trait of the audience's name, true or false; `track` for events. The
record's own id is the `messageId`, by which a repeated call is known. Fields: `user_id` or `anonymous_id`; all others
are traits.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, others, read, refused, text, unreadable, when
from adapters.connectors.settings import base_url, check_base_url, check_names
from domain.outbound import Outbound

BASE_URL: Final = "https://api.segment.io"
MAX_BATCH: Final = 500
#: Of a call, and of a batch, in bytes.
CALL_LIMIT: Final = 32 * 1024
BATCH_LIMIT: Final = 500 * 1024
_ROOM: Final = 1024

_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    success: bool = False


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url"}, {"write_key"})
    check_base_url(config, BASE_URL)


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Batches that are no larger than the API takes, in the records' order."""
    requests: list[Request] = []
    calls: list[msgspec.Raw] = []
    told: list[Outbound] = []
    size = 0
    for one in outbound:
        call = _encode(_call(one)) if _named(one) else b""
        if not call or len(call) > CALL_LIMIT:
            continue
        if calls and size + len(call) + 1 > BATCH_LIMIT - _ROOM:
            requests.append(_request(config, calls, told))
            calls, told, size = [], [], 0
        calls.append(msgspec.Raw(call))
        told.append(one)
        size += len(call) + 1
    if calls:
        requests.append(_request(config, calls, told))
    return requests


def _named(one: Outbound) -> bool:
    return bool(text(one, "user_id") or text(one, "anonymous_id"))


def _call(one: Outbound) -> dict[str, Any]:
    names = {"user_id": "userId", "anonymous_id": "anonymousId"}
    who = {said: text(one, field) for field, said in names.items() if text(one, field)}
    if one.change == "event":
        said = {"type": "track", "event": one.event, "timestamp": when(one), "properties": one.properties}
        rest = others(one.fields, *names)
        return {**said, "messageId": one.id, **who, **({"context": {"traits": rest}} if rest else {})}
    traits = others(one.fields, *names) if one.change == "add" else {}
    traits[one.audience] = one.change == "add"
    return {"type": "identify", "messageId": one.id, **who, "traits": traits}


def _request(config: ConnectorConfig, calls: list[msgspec.Raw], outbound: Sequence[Outbound]) -> Request:
    key = base64.b64encode(f"{config.secrets['write_key']}:".encode()).decode()
    headers = {"authorization": f"Basic {key}", "content-type": "application/json"}
    url = f"{base_url(config, BASE_URL)}/v1/batch"
    return Request("POST", url, headers, _encode({"batch": calls}), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """A batch is taken whole or not at all."""
    if answer.status != 200:
        return refused("Segment's API", request, answer)
    reply = read(answer, _Reply)
    return all_are(request, "delivered") if reply and reply.success else unreadable("Segment's API", request)


_EXAMPLE: Final = Example(
    {"base_url": "https://cdp.example.com"},
    {"write_key": "a-write-key"},
    lambda n: {"user_id": f"user-{n}", "plan": f"plan {n}"},
    lambda request: Answer(200, {}, b'{"success": true}'),
    lambda request: [one["messageId"] for one in msgspec.json.decode(request.body)["batch"]],
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "event"}), check, render, judge, example=_EXAMPLE
)
