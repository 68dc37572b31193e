"""SendGrid: mails sent; contacts of Marketing Campaigns added or updated, found by address, taken off a list, deleted.

Source: twilio.com/docs/sendgrid/api-reference: mail-send and its errors,
contacts/add-or-update-a-contact, get-contacts-by-emails, delete-contacts,
lists/remove-contacts-from-a-list, how-to-use-the-sendgrid-v3-api/rate-limits.
What SendGrid does later, in its own time, is done at once here. Its Event Webhook is in `sendgrid_events.py`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from simulators.vendors import sendgrid_events
from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, bearer, read_json, same

MAX_CONTACTS: Final = 30_000
MAX_BODY: Final = 6 * 1024 * 1024
MAX_FOUND: Final = 100
MAX_PERSONALIZATIONS: Final = 1_000
_FIELDS: Final = frozenset(
    {
        *("address_line_1", "address_line_2", "alternate_emails", "city", "country", "email"),
        *("first_name", "last_name", "postal_code", "state_province_region", "phone_number_id"),
        *("external_id", "anonymous_id", "custom_fields"),
    }
)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_CUSTOM: Final = re.compile(r"[ewx_][0-9A-Za-z_]*_[TND]")
_LIST: Final = re.compile(r"/v3/marketing/lists/([^/]+)/contacts")


def answer(call: Call, held: Held, secret: str) -> Reply:
    if not same(bearer(call), secret):
        raise Refused("unauthorized", _errors(401, "authorization required", None))
    taken_off = _LIST.fullmatch(call.path)
    match call.method, call.path:
        case "PUT", "/v3/marketing/contacts":
            return _upsert(call, held)
        case "POST", "/v3/mail/send":
            return _mail(call, held)
        case "POST", "/v3/marketing/contacts/search/emails":
            return _find(call, held)
        case "DELETE", "/v3/marketing/contacts":
            return _delete(call, held)
        case "DELETE", _ if taken_off:
            return _take_off(call, held, taken_off[1])
    raise Refused("unknown_path", _errors(404, "not found", None))


def _upsert(call: Call, held: Held) -> Reply:
    if len(call.body) > MAX_BODY:
        raise Refused("too_large", _errors(413, "request body too large", None))
    body = read_json(call)
    if not isinstance(body, dict) or set(body) - {"contacts", "list_ids"}:
        raise _invalid("request body is invalid", None)
    contacts, lists = body.get("contacts"), body.get("list_ids", [])
    if not isinstance(contacts, list) or not 1 <= len(contacts) <= MAX_CONTACTS:
        raise _invalid(f"there have to be 1 to {MAX_CONTACTS} contacts", "contacts")
    if not isinstance(lists, list) or not all(_is_uuid(one) for one in lists):
        raise _invalid("list ids are not valid", "list_ids")
    for index, contact in enumerate(contacts):
        if not isinstance(contact, dict) or set(contact) - _FIELDS:
            raise _invalid("unknown field", f"contacts[{index}]")
        if not isinstance(contact.get("email"), str) or not _EMAIL.fullmatch(contact["email"]):
            raise _invalid("email is not valid", f"contacts[{index}].email")
        custom = contact.get("custom_fields", {})
        if not isinstance(custom, dict) or not all(_CUSTOM.fullmatch(name) for name in custom):
            raise _invalid("custom field ids are not valid", f"contacts[{index}].custom_fields")
    for contact in contacts:
        email = contact["email"].lower()
        known = held.get("contacts", email) or {
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, email)),
            "list_ids": [],
        }
        custom = {**known.get("custom_fields", {}), **contact.get("custom_fields", {})}
        joined = sorted({*known["list_ids"], *lists})
        held.put("contacts", email, {**known, **contact, "custom_fields": custom, "list_ids": joined})
    return _job(held)


def _mail(call: Call, held: Held) -> Reply:
    body = read_json(call)
    if not isinstance(body, dict) or not isinstance(body.get("from"), dict):
        raise _invalid("The from object must be provided for every email send.", "from.email")
    people = body.get("personalizations")
    if not isinstance(people, list) or not 1 <= len(people) <= MAX_PERSONALIZATIONS:
        raise _invalid("The personalization block is limited to 1000 personalizations.", "personalizations")
    if not str(body.get("template_id", "")).startswith("d-") and not body.get("content"):
        raise _invalid("The content is required when template_id is not specified.", "content")
    seen: set[str] = set()
    wrong = []
    for index, person in enumerate(people):
        at = f"personalizations.{index}.to"
        to = person.get("to") if isinstance(person, dict) else None
        address = to[0].get("email") if isinstance(to, list) and to and isinstance(to[0], dict) else None
        if not isinstance(address, str) or not _EMAIL.fullmatch(address):
            wrong.append(("Does not contain a valid address.", f"{at}.0.email"))
        elif address.lower() in seen:
            wrong.append(("Each unique email address should only be included once.", at))
        elif not all(isinstance(value, str) for value in person.get("custom_args", {}).values()):
            wrong.append(("custom_args have to be strings.", f"personalizations.{index}.custom_args"))
        seen.add(str(address).lower())
    if wrong:
        said = [{"message": message, "field": field, "help": None} for message, field in wrong]
        raise Refused("invalid", Reply(400, {"errors": said}))
    message_id = f"message-{held.counted('requests')}"
    for index, person in enumerate(people):
        held.append("mails", {**person, "template_id": body.get("template_id")})
        own_id = f"{message_id}.recvd-0-{index}"
        sendgrid_events.sent(held, person["to"][0]["email"], person, own_id, call.now)
    return Reply(202, None, {"x-message-id": message_id})


def _find(call: Call, held: Held) -> Reply:
    body = read_json(call)
    emails = body.get("emails") if isinstance(body, dict) else None
    if not isinstance(emails, list) or not 1 <= len(emails) <= MAX_FOUND:
        raise _invalid(f"there have to be 1 to {MAX_FOUND} emails", "emails")
    found = {email: held.get("contacts", str(email).lower()) for email in emails}
    if not any(found.values()):
        raise Refused("not_found", _errors(404, "no contacts found", None))
    return Reply(
        200,
        {"result": {e: {"contact": c} if c else {"error": "contact not found"} for e, c in found.items()}},
    )


def _delete(call: Call, held: Held) -> Reply:
    ids = set(call.query.get("ids", "").split(",")) - {""}
    if not ids:
        raise _invalid("ids or delete_all_contacts is required", "ids")
    for email, contact in held.all("contacts").items():
        if contact["id"] in ids:
            held.drop("contacts", email)
            held.put("deleted", email, True)
    return _job(held)


def _take_off(call: Call, held: Held, list_id: str) -> Reply:
    ids = set(call.query.get("contact_ids", "").split(",")) - {""}
    if not ids or not _is_uuid(list_id):
        raise _invalid("contact_ids is required", "contact_ids")
    for email, contact in held.all("contacts").items():
        if contact["id"] in ids:
            contact["list_ids"] = [one for one in contact["list_ids"] if one != list_id]
            held.put("contacts", email, contact)
    return _job(held)


def _job(held: Held) -> Reply:
    return Reply(202, {"job_id": str(uuid.UUID(int=held.counted("requests")))})


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _errors(status: int, message: str, field: str | None) -> Reply:
    return Reply(status, {"errors": [{"message": message, "field": field}]})


def _invalid(message: str, field: str | None) -> Refused:
    return Refused("invalid", _errors(400, message, field))


def refuse(status: int, code: int | None) -> Reply:
    return _errors(status, "too many requests" if status == 429 else "scripted fault", None)


def limits(limit: int, remaining: int, reset: float) -> Mapping[str, str]:
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(int(reset) + 1),
    }


SENDGRID: Final = Vendor(
    answer,
    refuse,
    limits,
    sendgrid_events.tell,
    {"webhook": sendgrid_events.set_webhook, "engage": sendgrid_events.engage},
)
