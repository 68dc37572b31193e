"""Google's Data Manager API: people in and out of an audience of Google Ads or Display & Video 360, by hashes.

Source: developers.google.com/data-manager/api: reference/rest/v1/audienceMembers (ingest, remove),
devguides/concepts/formatting, devguides/audiences/send-audience-members, limits; its requests are read by Google's own
client (google-ads-datamanager 0.9.4). Adding and removing twice is as
once. Google takes a request whole or not at all, and works on it later: delivered means taken. The access token is
an OAuth token that lasts for an hour: keep it in a file that is renewed. Fields: `email`, `phone`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import email_of_google, phone, sha256
from adapters.connectors.judging import all_are, code, latest, parts, read, refused, unreadable
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://datamanager.googleapis.com"
MAX_BATCH: Final = 10_000

_ACCOUNTS: Final = (
    "GOOGLE_ADS",
    "DISPLAY_VIDEO_PARTNER",
    "DISPLAY_VIDEO_ADVERTISER",
    "DATA_PARTNER",
    "GOOGLE_ANALYTICS_PROPERTY",
)
_CONSENT: Final = ("ad_user_data", "ad_personalization")
_SETTINGS: Final = frozenset(
    {"base_url", "account_type", "account_id", "login_account_id", "audience_id", "consent"}
)
_PLACE: Final = re.compile(r"audience_members\[(\d+)\]")
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Violation(msgspec.Struct):
    field: str = ""
    reason: str = ""


class _Detail(msgspec.Struct):
    violations: list[_Violation] = msgspec.field(name="fieldViolations", default_factory=list)


class _Error(msgspec.Struct):
    status: str = ""
    details: list[_Detail] = []


class _Reply(msgspec.Struct):
    request_id: str = msgspec.field(name="requestId", default="")
    error: _Error | None = None


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, _SETTINGS, {"access_token"})
    check_base_url(config, BASE_URL)
    settings = config.settings
    if settings.get("account_type", _ACCOUNTS[0]) not in _ACCOUNTS:
        raise wrong(config, "settings.account_type", f"is none of {', '.join(_ACCOUNTS)}")
    for name in ("account_id", "audience_id", "login_account_id"):
        if (name in settings or name != "login_account_id") and not re.fullmatch(
            r"[0-9]+", str(settings.get(name))
        ):
            raise wrong(config, f"settings.{name}", 'is not Google\'s number of it; write it as "123"')
    consent = settings.get("consent", {})
    if not isinstance(consent, dict) or not set(consent) <= set(_CONSENT) or not _granted(consent):
        raise wrong(
            config, "settings.consent", "says other than {ad_user_data: granted, ad_personalization: granted}"
        )


def _granted(consent: dict[str, Any]) -> bool:
    return all(value in ("granted", "denied") for value in consent.values())


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Removals and adds, each in requests of at most `MAX_BATCH` people. Erasing is removing."""
    people = latest(outbound, _key)
    requests = []
    for method, changes in (("remove", ("remove", "delete")), ("ingest", ("add",))):
        told = [who for who, several in people.items() if several[-1].change in changes]
        for some in parts(told, MAX_BATCH):
            records = [one for who in some for one in people[who]]
            members = [{"userData": {"userIdentifiers": _identifiers(people[who][-1])}} for who in some]
            requests.append(_request(config, method, members, records))
    return requests


def _identifiers(one: Outbound) -> list[dict[str, str]]:
    values = {
        "emailAddress": sha256(email_of_google(one.fields.get("email"))),
        "phoneNumber": sha256(phone(one.fields.get("phone"))),
    }
    return [{name: value} for name, value in values.items() if value]


def _key(one: Outbound) -> str:
    return "&".join(value for each in _identifiers(one) for value in each.values())


def _request(
    config: ConnectorConfig, method: str, members: list[dict[str, Any]], outbound: Sequence[Outbound]
) -> Request:
    settings = config.settings
    kind = settings.get("account_type", _ACCOUNTS[0])
    destination: dict[str, Any] = {
        "operatingAccount": {"accountType": kind, "accountId": str(settings["account_id"])},
        "productDestinationId": str(settings["audience_id"]),
    }
    if "login_account_id" in settings:
        login = {"accountType": kind, "accountId": str(settings["login_account_id"])}
        destination["loginAccount"] = login
    body: dict[str, Any] = {"destinations": [destination], "audienceMembers": members, "encoding": "HEX"}
    if method == "ingest":
        body["termsOfService"] = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
        if consent := settings.get("consent"):
            names = {"ad_user_data": "adUserData", "ad_personalization": "adPersonalization"}
            body["consent"] = {names[name]: f"CONSENT_{value.upper()}" for name, value in consent.items()}
    headers = {
        "authorization": f"Bearer {config.secrets['access_token']}",
        "content-type": "application/json",
    }
    url = f"{base_url(config, BASE_URL)}/v1/audienceMembers:{method}"
    return Request("POST", url, headers, _encode(body), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """An error that names members leaves the others to be sent again without them."""
    reply = read(answer, _Reply)
    if answer.status == 200:
        if reply is None or not reply.request_id:
            return unreadable("Google", request)
        return all_are(request, "delivered", reference=reply.request_id)
    error = reply.error if reply and reply.error else _Error()
    named = {
        int(found[1]): code(violation.reason)
        for detail in error.details
        for violation in detail.violations
        if (found := _PLACE.search(violation.field))
    }
    if answer.status != 400 or not named:
        return refused("Google", request, answer, code(error.status))
    order = list(latest(request.outbound, _key))
    judged = []
    for one in request.outbound:
        reason = named.get(order.index(_key(one)))
        if reason is None:
            judged.append(
                Judgement(one, "retry", "Google refused the request for another member's sake", after_s=0)
            )
        else:
            judged.append(Judgement(one, "dead", f"Google could not use the member: {reason}"))
    return judged


_EXAMPLE: Final = Example(
    {"account_id": "1234567890", "audience_id": "987", "consent": {"ad_user_data": "granted"}},
    {"access_token": "a-token"},
    lambda n: {"email": f"user{n}@example.com", "phone": f"+4366412{n:05}"},
    lambda request: Answer(200, {}, b'{"requestId": "r-1"}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete"}), check, render, judge, example=_EXAMPLE
)
