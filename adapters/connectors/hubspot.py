"""HubSpot: contacts upserted by their address, with a property that says whether they are in the audience.

Source: developers.hubspot.com/docs/api-reference: crm/objects/contacts/batch/upsert-contacts,
gdpr/gdpr-delete-contact, error-handling; and HubSpot's own client (hubspot-api-client 12.0.0), by which a batch/upsert
answers 207 with errors where each input has a trace id. That `context.objectWriteTraceId` tells which input an error
is of is documented for batch/create. An upsert twice is as once. Fields: `email`, and any properties of contacts.

People change contacts in HubSpot, which its webhooks tell; by the app's id it shows which change was this connection's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import email
from adapters.connectors.judging import all_are, code, latest, others, parts, read, refused, unreadable
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://api.hubapi.com"
MAX_BATCH: Final = 100

#: Locked, while much of one kind is written: for two seconds. Migrating to another data centre.
_PASSING: Final = frozenset({423, 477})
_LOCKED_S: Final = 2.0
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Error(msgspec.Struct):
    category: str = ""
    context: Any = None


class _Reply(msgspec.Struct):
    status: str = ""
    category: str = ""
    errors: list[_Error] = []


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "membership_property", "app_id"}, {"access_token"})
    check_base_url(config, BASE_URL)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,99}", str(config.settings.get("membership_property"))):
        raise wrong(
            config,
            "settings.membership_property",
            "is missing or no name; give the internal name of a yes/no property of contacts",
        )
    if not re.fullmatch(r"[0-9]{0,20}", str(config.settings.get("app_id", ""))):
        raise wrong(config, "settings.app_id", "is no number; HubSpot shows the app's id beside its name")


def own(settings: Mapping[str, Any]) -> dict[str, str]:
    """What HubSpot says of a change that this connection's app made. Raises `ValueError` where that is not known."""
    if not re.fullmatch(r"[0-9]+", str(settings.get("app_id", ""))):
        raise ValueError(
            "settings.app_id is missing, or no number: write the id of the app that the access token is of. By it the"
            " changes that this connection makes, which come back by the feed, are told from those that people make"
        )
    return {"changeSource": "INTEGRATION", "sourceId": str(settings["app_id"])}


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Deletions, one person a request, then upserts. A removal tells nothing but itself."""
    people = latest(outbound, lambda one: email(one.fields.get("email")))
    requests = []
    for who, several in people.items():
        if several[-1].change == "delete":
            body = {"objectId": who, "idProperty": "email"}
            requests.append(_request(config, "gdpr-delete", body, several))
    kept = [who for who, several in people.items() if several[-1].change != "delete"]
    for some in parts(kept, MAX_BATCH):
        inputs = [_input(config, who, people[who]) for who in some]
        told = [one for who in some for one in people[who]]
        requests.append(_request(config, "batch/upsert", {"inputs": inputs}, told))
    return requests


def _input(config: ConnectorConfig, who: str, several: Sequence[Outbound]) -> dict[str, Any]:
    """What several records of one contact come to: each may tell what has changed alone."""
    one, told = several[-1], dict[str, Any]()
    if one.change == "add":
        for add in several:
            told |= others(add.fields, "email") if add.change == "add" else {}
    properties = {name: _text(value) for name, value in told.items()}
    properties[config.settings["membership_property"]] = _text(one.change == "add")
    return {"id": who, "idProperty": "email", "properties": properties, "objectWriteTraceId": one.id}


def _text(value: Any) -> str:
    """HubSpot's properties are texts."""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _request(config: ConnectorConfig, path: str, body: Any, outbound: Sequence[Outbound]) -> Request:
    headers = {
        "authorization": f"Bearer {config.secrets['access_token']}",
        "content-type": "application/json",
    }
    url = f"{base_url(config, BASE_URL)}/crm/v3/objects/contacts/{path}"
    return Request("POST", url, headers, _encode(body), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Of several inputs, those that are wrong are told by their trace ids."""
    if answer.status == 204:
        return all_are(request, "delivered")
    reply = read(answer, _Reply)
    if answer.status in _PASSING:
        reason = f"HubSpot answered {answer.status}"
        return [Judgement(one, "retry", reason, after_s=_LOCKED_S) for one in request.outbound]
    if answer.status not in (200, 201, 207):
        return refused("HubSpot", request, answer, code(reply.category) if reply else "")
    if reply is None or (not reply.status and not reply.errors):
        return unreadable("HubSpot", request)
    return _told_apart(request, reply)


def _told_apart(request: Request, reply: _Reply) -> list[Judgement]:
    by_trace: dict[str, str] = {}
    for error in reply.errors:
        named = error.context.get("objectWriteTraceId", []) if isinstance(error.context, dict) else []
        for trace in [named] if isinstance(named, str) else named:
            by_trace[str(trace)] = code(error.category)
    people = latest(request.outbound, lambda one: email(one.fields.get("email")))
    judged = []
    for several in people.values():
        category = by_trace.get(several[-1].id)
        for one in several:
            if category is None:
                judged.append(Judgement(one, "delivered"))
            else:
                judged.append(Judgement(one, "dead", f"HubSpot could not use the contact: {category}"))
    return judged


_EXAMPLE: Final = Example(
    {"membership_property": "roundtrip_new_users"},
    {"access_token": "a-token"},
    lambda n: {"email": f"user{n}@example.com", "firstname": f"Name {n}"},
    lambda request: Answer(200, {}, b'{"status": "COMPLETE", "results": []}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "remove", "delete"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    feeds=frozenset({"hubspot"}),
    own=own,
)
