"""TikTok custom audiences: people in and out, by the hashes of their identifiers (`/segment/mapping/`).

Source: business-api.tiktok.com/portal/docs, read only in excerpts. Confirmed in public clients alone, not at the
vendor: the request's form, the codes of errors, and that a request takes 1,000 people; that addresses are trimmed
and in lower case, and numbers in E.164 with +, before they are hashed. Adding and removing twice is as once.
Fields: `email`, `phone`, `idfa`, `gaid`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.hashing import device, email, phone, sha256
from adapters.connectors.judging import REFUSED_RETRY_S, all_are, latest, parts, read, refused, unreadable
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Outbound

BASE_URL: Final = "https://business-api.tiktok.com"
MAX_BATCH: Final = 1_000

#: What may be declared, under which name TikTok knows its hash, and how it is made the same everywhere.
_KINDS: Final = {
    "email": ("EMAIL_SHA256", email),
    "phone": ("PHONE_SHA256", phone),
    "idfa": ("IDFA_SHA256", device),
    "gaid": ("GAID_SHA256", device),
}
_RATE_LIMITED: Final = frozenset({40100, 40016, 40133})
_TOKEN_REFUSED: Final = frozenset({40102, 40104, 40105})
#: Codes from here on are of faults on TikTok's side.
_SYSTEM: Final = 50000
_encode = msgspec.json.Encoder(order="deterministic").encode


class _Reply(msgspec.Struct):
    code: int
    request_id: str = ""


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "advertiser_id", "audience_id"}, {"access_token"})
    check_base_url(config, BASE_URL)
    for name in ("advertiser_id", "audience_id"):
        if not re.fullmatch(r"[0-9]+", str(config.settings.get(name))):
            raise wrong(config, f"settings.{name}", 'is not TikTok\'s number of it; write it as "123"')


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Removals and adds, each in requests of at most `MAX_BATCH` people. Erasing is removing."""
    people = latest(outbound, lambda one: "&".join(_hashes(one).values()))
    requests = []
    for action, changes in (("delete", ("remove", "delete")), ("add", ("add",))):
        told = [who for who, several in people.items() if several[-1].change in changes]
        for some in parts(told, MAX_BATCH):
            records = [one for who in some for one in people[who]]
            requests.append(_request(config, action, [people[who][-1] for who in some], records))
    return requests


def _hashes(one: Outbound) -> dict[str, str]:
    hashes = {name: sha256(normal(one.fields.get(name))) for name, (_, normal) in _KINDS.items()}
    return {name: value for name, value in hashes.items() if value}


def _request(
    config: ConnectorConfig, action: str, people: Sequence[Outbound], outbound: Sequence[Outbound]
) -> Request:
    audiences = [str(config.settings["audience_id"])]
    hashes = [_hashes(one) for one in people]
    kinds = [name for name in _KINDS if any(name in each for each in hashes)]
    users: list[list[dict[str, Any]]] = [
        [{"id": each[name], "audience_ids": audiences} if name in each else {} for name in kinds]
        for each in hashes
    ]
    body = {
        "advertiser_ids": [str(config.settings["advertiser_id"])],
        "action": action,
        "id_schema": [_KINDS[name][0] for name in kinds],
        "batch_data": users,
    }
    headers = {"access-token": config.secrets["access_token"], "content-type": "application/json"}
    url = f"{base_url(config, BASE_URL)}/open_api/v1.3/segment/mapping/"
    return Request("POST", url, headers, _encode(body), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """The status is 200 whatever went wrong; the code tells."""
    if answer.status != 200:
        return refused("TikTok", request, answer)
    reply = read(answer, _Reply)
    if reply is None:
        return unreadable("TikTok", request)
    if reply.code == 0:
        return all_are(request, "delivered", reference=reply.request_id)
    reason = f"TikTok answered with code {reply.code}"
    if reply.code in _TOKEN_REFUSED:
        reason += ": the access token is refused; renew it"
        return [Judgement(one, "retry", reason, after_s=REFUSED_RETRY_S) for one in request.outbound]
    return all_are(
        request, "retry" if reply.code in _RATE_LIMITED or reply.code >= _SYSTEM else "dead", reason
    )


_EXAMPLE: Final = Example(
    {"advertiser_id": "71789", "audience_id": "167290896"},
    {"access_token": "a-token"},
    lambda n: {"email": f"user{n}@example.com", "phone": f"+4366412{n:05}"},
    lambda request: Answer(200, {}, b'{"code": 0, "message": "OK", "request_id": "r-1"}'),
)

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete"}), check, render, judge, example=_EXAMPLE
)
