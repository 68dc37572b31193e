"""Google's Data Manager API: audience members ingested and removed.

Source: developers.google.com/data-manager/api: reference/rest/v1/audienceMembers (ingest, remove),
devguides/audiences/send-audience-members, devguides/concepts/formatting, limits.
"""

from __future__ import annotations

import re
from typing import Any, Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, bearer, no_limits, read_json, same

MAX_MEMBERS: Final = 10_000
MAX_IDENTIFIERS: Final = 10
_IDENTIFIERS: Final = ("emailAddress", "phoneNumber", "address")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_CONSENTS: Final = ("CONSENT_STATUS_UNSPECIFIED", "CONSENT_GRANTED", "CONSENT_DENIED")
_STATUS: Final = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


def answer(call: Call, held: Held, secret: str) -> Reply:
    if not same(bearer(call), secret):
        raise Refused("unauthorized", _error(401, "Request had invalid authentication credentials.", []))
    ingest = call.path == "/v1/audienceMembers:ingest"
    if call.method != "POST" or not (ingest or call.path == "/v1/audienceMembers:remove"):
        raise Refused("unknown_path", _error(404, "Requested entity was not found.", []))
    body = read_json(call)
    optional = {"consent", "termsOfService"} if ingest else set()
    known = {"destinations", "audienceMembers", "validateOnly", "encoding", "encryptionInfo", *optional}
    if not isinstance(body, dict) or set(body) - known:
        raise _invalid("", "UNKNOWN_FIELD", "Invalid JSON payload received. Unknown name.")
    audiences = _destinations(body.get("destinations"))
    members = body.get("audienceMembers")
    if not isinstance(members, list) or not 1 <= len(members) <= MAX_MEMBERS:
        raise _invalid("audience_members", "TOO_MANY", f"1 to {MAX_MEMBERS} audience members go.")
    if body.get("encoding") not in ("HEX", "BASE64"):
        raise _invalid("encoding", "REQUIRED_FIELD_MISSING", "The encoding is required for UserData.")
    terms = body.get("termsOfService")
    if ingest and terms != {"customerMatchTermsOfServiceStatus": "ACCEPTED"}:
        raise _invalid("terms_of_service", "TERMS_AND_CONDITIONS_NOT_SIGNED", "The terms are not accepted.")
    _check_consent(body.get("consent", {}))
    keys = [_member(member, index) for index, member in enumerate(members)]
    if not body.get("validateOnly"):
        for audience in audiences:
            for key in keys:
                if ingest:
                    held.put(audience, key, {"consent": body.get("consent", {})})
                else:
                    held.drop(audience, key)
    return Reply(200, {"requestId": f"request-{held.counted('requests')}"})


def _destinations(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise _invalid("destinations", "REQUIRED_FIELD_MISSING", "Destinations are required.")
    for one in value:
        account = one.get("operatingAccount") if isinstance(one, dict) else None
        if not isinstance(account, dict) or set(account) != {"accountType", "accountId"}:
            raise _invalid("destinations.operating_account", "INVALID_DESTINATION", "No operating account.")
        if not str(one.get("productDestinationId", "")).isdigit() or not account["accountId"].isdigit():
            raise _invalid("destinations.product_destination_id", "INVALID_DESTINATION", "No such audience.")
    return [one["productDestinationId"] for one in value]


def _check_consent(consent: Any) -> None:
    if (
        not isinstance(consent, dict)
        or set(consent) - {"adUserData", "adPersonalization"}
        or not all(value in _CONSENTS for value in consent.values())
    ):
        raise _invalid("consent", "INVALID_CONSENT", "The consent is not valid.")


def _member(member: Any, index: int) -> str:
    """The member's identifiers, by which it is known."""
    at = f"audience_members.audience_members[{index}]"
    data = member.get("userData") if isinstance(member, dict) else None
    identifiers = data.get("userIdentifiers") if isinstance(data, dict) else None
    if not isinstance(identifiers, list) or not 1 <= len(identifiers) <= MAX_IDENTIFIERS:
        raise _invalid(f"{at}.user_data.user_identifiers", "INVALID_USER_DATA", "1 to 10 identifiers go.")
    values = []
    for one in identifiers:
        if not isinstance(one, dict) or len(one) != 1 or next(iter(one)) not in _IDENTIFIERS:
            raise _invalid(f"{at}.user_data.user_identifiers", "INVALID_USER_DATA", "No such identifier.")
        [(name, value)] = one.items()
        if name != "address":
            if not isinstance(value, str) or not _HEX.fullmatch(value):
                raise _invalid(
                    f"{at}.user_data.user_identifiers", "INVALID_HEX_ENCODING", "Email is not hex encoded."
                )
            if len(value) != 64:
                raise _invalid(at, "INVALID_SHA256_FORMAT", "")
        values.append(f"{name}={value}")
    return "&".join(values)


def _error(status: int, message: str, details: list[Any]) -> Reply:
    said = {
        "code": status,
        "message": message,
        "status": _STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
        "details": details,
    }
    return Reply(status, {"error": said})


def _invalid(field: str, reason: str, description: str) -> Refused:
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INVALID_ARGUMENT",
            "domain": "datamanager.googleapis.com",
        },
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": description, "reason": reason}],
        },
    ]
    return Refused("invalid", _error(400, "There was a problem with the request.", details))


def refuse(status: int, code: int | None) -> Reply:
    return _error(status, "Scripted fault", [])


GOOGLE_DATA_MANAGER: Final = Vendor(answer, refuse, no_limits)
