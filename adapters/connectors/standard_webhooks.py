"""Standard Webhooks: one signed message a record, to any URL.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. The record's own id is the
`webhook-id`, so a receiver knows a repeated message. The `webhook-signature` is over id, time of sending and body.
Any 2xx is success; a redirect is none; 410 says that nobody listens any more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import CHANGE_TYPES, all_are, refused, when
from adapters.connectors.settings import check_base_url, check_names, wrong
from domain.outbound import Outbound

MAX_BATCH: Final = 100

_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = (24, 64)
_encode = msgspec.json.Encoder(order="deterministic").encode


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"url"}, {"secret"})
    given = ConnectorConfig(config.name, {"base_url": config.settings.get("url")}, {})
    try:
        check_base_url(given, "")
    except ValueError:
        raise wrong(config, "settings.url", "is not a URL; write it as https://HOST/PATH") from None
    least, most = _KEY_BYTES
    if not least <= len(_key(config)) <= most:
        raise wrong(config, "secrets.secret", f"is no whsec_ and base64 of {least} to {most} bytes")


def _key(config: ConnectorConfig) -> bytes:
    try:
        return base64.b64decode(config.secrets["secret"].removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        return b""


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """A request for each record, in their order."""
    return [_request(config, one) for one in outbound]


def _request(config: ConnectorConfig, one: Outbound) -> Request:
    data: dict[str, Any] = {"connection": one.connection, "fields": one.fields, "position": one.cause}
    said: dict[str, Any] = {"type": CHANGE_TYPES[one.change], "data": data}
    if one.change == "event":
        said["timestamp"] = when(one)
        data |= {"event": one.event, "properties": one.properties}
    else:
        data["audience"] = one.audience
    body = _encode(said)
    headers = {"content-type": "application/json", "webhook-id": one.id}
    return Request("POST", str(config.settings["url"]), headers, body, (one,))


def sign(config: ConnectorConfig, request: Request, now: int) -> Request:
    """The request as it is sent at this moment: one id and one body for all attempts, with a time of its own each."""
    name = request.headers["webhook-id"]
    digest = hmac.new(_key(config), f"{name}.{now}.".encode() + request.body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    told = {"webhook-timestamp": str(now), "webhook-signature": signature}
    return request._replace(headers={**request.headers, **told})


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    if 200 <= answer.status < 300:
        return all_are(request, "delivered")
    return refused("The receiver", request, answer)


_EXAMPLE: Final = Example(
    {"url": "https://example.com/hook"},
    {"secret": "whsec_" + base64.b64encode(bytes(range(32))).decode()},
    lambda n: {"user_id": f"user-{n}"},
    lambda request: Answer(204, {}, b""),
    lambda request: request.headers["webhook-id"],
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "remove", "delete", "event"}),
    check,
    render,
    judge,
    sign=sign,
    example=_EXAMPLE,
)
