"""SendGrid Marketing Campaigns: contacts added or updated, on a list and off it again; contacts deleted.

Source: twilio.com/docs/sendgrid/api-reference: contacts (add-or-update-a-contact, get-contacts-by-emails,
delete-contacts), lists/remove-contacts-from-a-list. Each of these twice is as once. SendGrid works on them later:
delivered means taken. Contacts are taken off and deleted by SendGrid's own ids, which it is asked for first. Fields:
`email`, SendGrid's reserved fields, and custom fields by their ids (`e1_T`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import email
from adapters.connectors.judging import all_are, latest, others, parts, read, refused, unreadable
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://api.sendgrid.com"
#: SendGrid takes 30,000, or 6 MB; fewer make sure of the second.
MAX_BATCH: Final = 5_000
MAX_FOUND: Final = 100

_RESERVED: Final = frozenset(
    {"address_line_1", "address_line_2", "alternate_emails", "city", "country", "first_name", "last_name"}
    | {"postal_code", "state_province_region", "phone_number_id", "external_id", "anonymous_id"}
)
_SEARCH: Final = "/v3/marketing/contacts/search/emails"
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Contact(msgspec.Struct):
    id: str


class _Found(msgspec.Struct):
    contact: _Contact | None = None


class _Reply(msgspec.Struct):
    job_id: Any = None
    result: dict[str, _Found] | None = None


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "list_id"}, {"api_key"})
    check_base_url(config, BASE_URL)
    try:
        UUID(str(config.settings.get("list_id")))
    except ValueError:
        raise wrong(config, "settings.list_id", "is not a UUID; copy it from the list's address") from None


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Searches for those to delete and to take off, then upserts."""
    people = latest(outbound, lambda one: email(one.fields.get("email")))
    requests = []
    for change in ("delete", "remove"):
        asked = [who for who, several in people.items() if several[-1].change == change]
        for some in parts(asked, MAX_FOUND):
            told = [one for who in some for one in people[who]]
            requests.append(_request(config, "POST", _SEARCH, {"emails": list(some)}, told))
    added = [who for who, several in people.items() if several[-1].change == "add"]
    for some in parts(added, MAX_BATCH):
        contacts = [_contact(who, people[who][-1]) for who in some]
        body = {"list_ids": [str(UUID(config.settings["list_id"]))], "contacts": contacts}
        told = [one for who in some for one in people[who]]
        requests.append(_request(config, "PUT", "/v3/marketing/contacts", body, told))
    return requests


def _contact(who: str, one: Outbound) -> dict[str, Any]:
    fields = others(one.fields, "email")
    custom = {name: value for name, value in fields.items() if name not in _RESERVED}
    known = {name: value for name, value in fields.items() if name in _RESERVED}
    return {"email": who, **known, **({"custom_fields": custom} if custom else {})}


def _request(
    config: ConnectorConfig, method: str, path: str, body: Any, outbound: Sequence[Outbound]
) -> Request:
    headers = {"authorization": f"Bearer {config.secrets['api_key']}"}
    if body is not None:
        headers["content-type"] = "application/json"
    raw = b"" if body is None else _encode(body)
    return Request(method, base_url(config, BASE_URL) + path, headers, raw, tuple(outbound))


def follow(config: ConnectorConfig, request: Request, answer: Answer) -> list[Request]:
    """Deletes those who were found, or takes them off the list."""
    reply = read(answer, _Reply)
    if not request.url.endswith(_SEARCH) or answer.status != 200 or reply is None or not reply.result:
        return []
    ids = {who.lower(): found.contact.id for who, found in reply.result.items() if found.contact}
    people = latest(request.outbound, lambda one: email(one.fields.get("email")))
    told = [one for who, several in people.items() if who in ids for one in several]
    if not told:
        return []
    joined = ",".join(ids[who] for who in people if who in ids)
    if told[-1].change == "delete":
        query = urlencode({"ids": joined})
        return [_request(config, "DELETE", f"/v3/marketing/contacts?{query}", None, told)]
    query = urlencode({"contact_ids": joined})
    path = f"/v3/marketing/lists/{UUID(config.settings['list_id'])}/contacts?{query}"
    return [_request(config, "DELETE", path, None, told)]


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """SendGrid takes a request whole or not at all. Whoever it does not know is on no list already."""
    reply = read(answer, _Reply)
    if request.url.endswith(_SEARCH) and answer.status in (200, 404):
        return all_are(request, "delivered", "SendGrid has no such contact")
    if answer.status != 202:
        return refused("SendGrid", request, answer)
    if reply is None or not reply.job_id:
        return unreadable("SendGrid", request)
    return all_are(request, "delivered", reference=str(reply.job_id))


_EXAMPLE: Final = Example(
    {"list_id": "3c2f7f2a-8c2d-4f2a-9d9b-1b2a3c4d5e6f"},
    {"api_key": "an-api-key"},
    lambda n: {"email": f"user{n}@example.com", "first_name": f"Name {n}"},
    lambda request: (
        Answer(200, {}, b'{"result": {}}')
        if request.url.endswith(_SEARCH)
        else Answer(202, {}, b'{"job_id": "j-1"}')
    ),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete"}), check, render, judge, follow=follow, example=_EXAMPLE
)
