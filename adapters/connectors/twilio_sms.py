"""Twilio: one SMS to each person, of a fixed text or a content template.

Source: twilio.com/docs/messaging/api/message-resource (parameters, limits), twilio.com/docs/api/errors,
twilio.com/docs/usage/webhooks/webhooks-connection-overrides. One message a request. No key for a repeated request is
documented: where Twilio's answer is lost, a person may get the SMS twice; batches are small, so that few do after a
crash. An SMS cannot be taken back, so there are adds and events only. Our ids go along in the query of the
`StatusCallback` and come back with each change of the message's status. Fields: `phone`; all others, and an event's
properties, are the content template's variables.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import phone
from adapters.connectors.judging import REFUSED_RETRY_S, all_are, latest, others, read, refused
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.engagement import events_of
from domain.outbound import Outbound

BASE_URL: Final = "https://api.twilio.com"
MAX_BATCH: Final = 10
#: Characters of a text, and of a variable.
MAX_TEXT: Final = 1_600

_SIDS: Final = {"account_sid": "AC", "messaging_service_sid": "MG", "content_sid": "HX"}
#: A number, a short code, or an alphanumeric sender.
_SENDER: Final = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 &+_.-]{1,11}")
_QUEUE_FULL: Final = 21611
_QUEUE_FULL_S: Final = 60.0
#: The sender is none, or not the account's own: the operator's to mend.
_NO_SENDER: Final = frozenset({21212, 21606})
#: What is wrong with the recipient.
_RECIPIENT: Final = {
    21211: "the number is none",
    21610: "the person has opted out of messages from this sender",
    21614: "the number takes no SMS",
}
_CODES: Final = range(10_000, 100_000)
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    sid: str = ""
    code: int | None = None


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    settings = config.settings
    check_names(config, {"base_url", "from", "body", "status_callback", *_SIDS}, {"auth_token"})
    check_base_url(config, BASE_URL)
    for name, begin in _SIDS.items():
        needed = name in settings or name == "account_sid"
        if needed and not re.fullmatch(f"{begin}[0-9a-fA-F]{{32}}", str(settings.get(name))):
            raise wrong(config, f"settings.{name}", f"is no SID; copy the one that begins with {begin}")
    if "from" not in settings and "messaging_service_sid" not in settings:
        raise wrong(config, "settings.from", "or messaging_service_sid is needed: say who the sender is")
    if not _SENDER.fullmatch(str(settings.get("from", "+15005550006"))):
        raise wrong(config, "settings.from", "is no sender: a number as +15005550006, a short code or a name")
    if ("body" in settings) == ("content_sid" in settings):
        raise wrong(config, "settings.body", "or content_sid is needed: say by one of them what the SMS says")
    if not 0 < len(str(settings.get("body", "-")).strip()) <= MAX_TEXT:
        raise wrong(config, "settings.body", f"has to be a text of at most {MAX_TEXT:,} characters")
    if not _is_callback(settings.get("status_callback", BASE_URL)):
        raise wrong(
            config, "settings.status_callback", "is not a URL; write it as https://HOST/v1/feeds/FEED"
        )


def _is_callback(value: Any) -> bool:
    try:
        url = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        return False
    # Twilio takes no underscore in the host.
    return (
        url.scheme in ("http", "https") and bool(url.hostname) and "_" not in url.netloc and not url.username
    )


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """A request for each number's adds, then one for each event in their order."""
    adds = latest([one for one in outbound if one.change == "add"], _who)
    events = [[one] for one in outbound if one.change == "event" and _who(one)]
    return [_request(config, several) for several in (*adds.values(), *events)]


def _who(one: Outbound) -> str:
    return phone(one.fields.get("phone"))


def _request(config: ConnectorConfig, told: Sequence[Outbound]) -> Request:
    settings, one = config.settings, told[-1]
    form = {"To": _who(one)}
    for name, parameter in (("from", "From"), ("messaging_service_sid", "MessagingServiceSid")):
        if name in settings:
            form[parameter] = str(settings[name])
    if "body" in settings:
        form["Body"] = str(settings["body"])
    else:
        form["ContentSid"] = str(settings["content_sid"])
        variables = {**others(one.fields, "phone"), **one.properties}
        form["ContentVariables"] = _encode({name: _text(value) for name, value in variables.items()}).decode()
    if "status_callback" in settings:
        form["StatusCallback"] = _callback(str(settings["status_callback"]), one)
    account = str(settings["account_sid"])
    coded = base64.b64encode(f"{account}:{config.secrets['auth_token']}".encode()).decode()
    headers = {"authorization": f"Basic {coded}", "content-type": "application/x-www-form-urlencoded"}
    url = f"{base_url(config, BASE_URL)}/2010-04-01/Accounts/{account}/Messages.json"
    return Request("POST", url, headers, urlencode(form).encode(), tuple(told))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else _encode(value).decode()
    return text[:MAX_TEXT]


def _callback(url: str, one: Outbound) -> str:
    """What follows a # are Twilio's connection overrides, such as how often it tries again."""
    parts = urlsplit(url)
    ours = urlencode({"outbound_id": one.id, "outbound_batch": one.batch})
    return parts._replace(query=f"{parts.query}&{ours}" if parts.query else ours).geturl()


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Delivered means that Twilio has the message: what becomes of it, its feed tells."""
    reply = read(answer, _Reply)
    if answer.status == 201:
        return all_are(request, "delivered", reference=reply.sid if reply else "")
    code = reply.code if reply and reply.code else 0
    if code not in _CODES:
        return refused("Twilio", request, answer)
    said = f"error {code}, {_RECIPIENT.get(code, f'see twilio.com/docs/api/errors/{code}')}"
    if code == _QUEUE_FULL:
        return _later(request, "the sender's queue at Twilio is full", _QUEUE_FULL_S)
    if code in _NO_SENDER:
        return _later(request, f"Twilio says {said}; mend the connection's sender", REFUSED_RETRY_S)
    return refused("Twilio", request, answer, said)


def _later(request: Request, reason: str, after_s: float) -> list[Judgement]:
    return [Judgement(one, "retry", reason, after_s=after_s) for one in request.outbound]


_EXAMPLE: Final = Example(
    {
        "account_sid": "AC0123456789abcdef0123456789abcdef",
        "from": "+15005550006",
        "content_sid": "HX0123456789abcdef0123456789abcdef",
        "status_callback": "https://cdp.example.com/v1/feeds/sms#rc=5&rp=all",
    },
    {"auth_token": "an-auth-token"},
    lambda n: {"phone": f"+4366412{n:06}", "first_name": f"Name {n}"},
    lambda request: Answer(201, {}, b'{"sid": "SM0123456789abcdef0123456789abcdef", "status": "queued"}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "event"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"twilio"}),
    engagement=events_of("SMS"),
)
