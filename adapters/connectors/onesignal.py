"""OneSignal: one push notification for a batch of people, named by their external ids.

Source: documentation.onesignal.com/reference: push-notification, idempotent-notification-requests,
rate-limits. A push cannot be taken back, so there are adds only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid3

import msgspec

from adapters.connectors.connector import (
    Answer,
    Connector,
    ConnectorConfig,
    Example,
    Judgement,
    RenderError,
    Request,
    passes,
)
from adapters.connectors.settings import base_url, check_base_url, check_names, is_texts, wrong
from domain.engagement import events_of
from domain.outbound import Outbound

BASE_URL: Final = "https://api.onesignal.com"
MAX_BATCH: Final = 2_000

_SETTINGS: Final = frozenset({"base_url", "app_id", "contents", "headings", "template_id"})
#: OneSignal refuses idempotency keys that are not UUIDs of version 3 or 4.
_KEYS: Final = UUID("5b1e9d0a-6f6b-4f0e-9a53-0d3c5d1f7a64")
_REASON_LIMIT: Final = 200

_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    id: str | None = None
    errors: Any = None


_decode = msgspec.json.Decoder(_Reply).decode


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, _SETTINGS, {"api_key"})
    check_base_url(config, BASE_URL)
    settings = config.settings
    try:
        UUID(str(settings.get("app_id")))
    except ValueError:
        raise wrong(config, "settings.app_id", "is not a UUID; copy it from OneSignal's Keys & IDs") from None
    if "contents" not in settings and "template_id" not in settings:
        raise wrong(config, "settings.contents", "is missing; write it as {en: Hello}, or name a template_id")
    for name in ("contents", "headings"):
        if name in settings and not is_texts(settings[name]):
            raise wrong(
                config, f"settings.{name}", "is not a text for each language; write it as {en: Hello}"
            )


def idempotency_key(connection: str, batch: str) -> str:
    """The key of a batch's one request, however many of its records are left to send.

    A person whose consent was withdrawn between a request that may have arrived and its repetition is left
    out of the second: with a key made of the records in it, all others would get a second push.
    """
    return str(uuid3(_KEYS, f"{connection}\n{batch}"))


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """One request for the batch. Raises `RenderError` when these are not the records of one batch."""
    usable = sorted((o for o in outbound if o.change == "add" and _external_id(o)), key=lambda o: o.id)
    if not usable:
        return []
    batch = usable[0].batch
    if any(o.batch != batch for o in usable) or len(usable) > MAX_BATCH:
        raise RenderError(
            f"a request takes one batch of at most {MAX_BATCH} records, not these {len(usable)}"
        )
    settings = config.settings
    body = {
        "app_id": settings["app_id"],
        "target_channel": "push",
        "include_aliases": {"external_id": list(dict.fromkeys(_external_id(o) for o in usable))},
        # The name comes back in the event stream, `data` goes to the device.
        "name": batch,
        "data": {"outbound_batch": batch, "connection": config.name},
        "idempotency_key": idempotency_key(config.name, batch),
        **{name: settings[name] for name in ("contents", "headings", "template_id") if name in settings},
    }
    headers = {
        "authorization": f"Key {config.secrets['api_key']}",
        "content-type": "application/json; charset=utf-8",
    }
    url = f"{base_url(config, BASE_URL)}/notifications?c=push"
    return [Request("POST", url, headers, _encode(body), tuple(usable))]


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Reads the answer. A 200 may name people it has no subscription of, and may have sent nothing at all."""
    status = answer.status
    if status != 200:
        said = _said(_read(answer.body), request)
        verdict = "retry" if passes(status) or 200 < status < 300 else "dead"
        reason = f"OneSignal answered {status}{said}"
        return [Judgement(o, verdict, reason) for o in request.outbound]  # type: ignore[arg-type]
    reply = _read(answer.body)
    if reply is None or not (reply.id or reply.errors):
        return [Judgement(o, "retry", "OneSignal's answer could not be read") for o in request.outbound]
    invalid = _invalid(reply)
    judged = []
    for one in request.outbound:
        if _external_id(one) in invalid:
            judged.append(Judgement(one, "dead", "OneSignal has no subscribed device of this external_id"))
        elif reply.id:
            judged.append(Judgement(one, "delivered", reference=reply.id))
        else:
            judged.append(Judgement(one, "dead", f"OneSignal sent no notification{_said(reply, request)}"))
    return judged


def _external_id(outbound: Outbound) -> str:
    value = outbound.fields.get("external_id")
    return value if isinstance(value, str) else ""


def _read(body: bytes) -> _Reply | None:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _invalid(reply: _Reply) -> set[str]:
    aliases = reply.errors.get("invalid_aliases") if isinstance(reply.errors, dict) else None
    named = aliases.get("external_id") if isinstance(aliases, dict) else None
    return {one for one in named if isinstance(one, str)} if isinstance(named, list) else set()


def _said(reply: _Reply | None, request: Request) -> str:
    """OneSignal's own words: only those in a list, since an object of errors names people, and of these only such
    as repeat nothing of the request."""
    if reply is None or not isinstance(reply.errors, list):
        return ""
    sent = [request.headers["authorization"].removeprefix("Key ")]
    sent += [value for one in request.outbound for value in one.fields.values() if isinstance(value, str)]
    told = [one for one in reply.errors if isinstance(one, str)]
    words = "; ".join(one for one in told if not any(value in one for value in sent if value))
    return f": {words[:_REASON_LIMIT]}" if words else ""


_EXAMPLE: Final = Example(
    {"app_id": "8250eaf6-1a58-489e-b136-7c74a864b434", "contents": {"en": "Hello"}},
    {"api_key": "an-api-key"},
    lambda n: {"external_id": f"user-{n}"},
    lambda request: Answer(200, {}, b'{"id": "n-1"}'),
    lambda request: msgspec.json.decode(request.body)["idempotency_key"],
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"onesignal"}),
    engagement=events_of("Push"),
    campaign="template_id",
)
