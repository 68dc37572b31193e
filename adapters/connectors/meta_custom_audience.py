"""Meta Custom Audiences: people in and out of an ad audience, named by the hash of their e-mail address.

Source: developers.facebook.com/docs/marketing-api: reference/custom-audience/users,
audiences/guides/custom-audiences; docs/graph-api: guides/error-handling, overview/rate-limiting.
Adding and removing twice is as once, so a repeated request needs no key; `session` names it all the same,
as one of Meta's guides requires it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from adapters.connectors.connector import (
    Answer,
    Connector,
    ConnectorConfig,
    Example,
    Judgement,
    Request,
    passes,
)
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Change, Outbound

BASE_URL: Final = "https://graph.facebook.com"
VERSION: Final = "v25.0"
MAX_BATCH: Final = 10_000

#: Removals first: Meta keeps people, not hashes, and who was removed by an old address and added by a new
#: one has to be in the audience afterwards.
_METHODS: Final[tuple[tuple[Change, str], ...]] = (("remove", "DELETE"), ("add", "POST"))

#: Unknown error, service down, and the limits of app, user, page, calls and custom audiences.
_PASSING: Final = frozenset({1, 2, 4, 17, 32, 341, 613, 80003, 80004})
#: A token that is expired or revoked is the operator's to mend, and the people are not at fault: there is
#: a quarter of an hour until the retry policy gives up.
_TOKEN_REFUSED: Final = 190
_TOKEN_RETRY_S: Final = 110.0
#: 100 (invalid parameter) stays wrong, whatever status it comes with.
_INVALID: Final = 100

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class _Error(msgspec.Struct):
    code: int = 0
    error_subcode: int = 0
    is_transient: bool = False


class _Reply(msgspec.Struct):
    error: _Error | None = None
    num_received: int | None = None
    num_invalid_entries: int = 0
    invalid_entry_samples: Any = None


_decode = msgspec.json.Decoder(_Reply).decode
_decode_usage = msgspec.json.Decoder(dict[str, list[dict[str, Any]]]).decode


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    check_names(config, {"base_url", "audience_id"}, {"access_token"})
    check_base_url(config, BASE_URL)
    if not re.fullmatch(r"[0-9]+", str(config.settings.get("audience_id"))):
        raise wrong(config, "settings.audience_id", 'is not Meta\'s number of an audience; write it as "123"')


def hashed(email: object) -> str:
    """The hash by which Meta finds a person; empty when this is no e-mail address."""
    normal = email.strip().lower() if isinstance(email, str) else ""
    return hashlib.sha256(normal.encode()).hexdigest() if _EMAIL.fullmatch(normal) else ""


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Removes and adds, each in requests of at most `MAX_BATCH` people. Of several changes of one address
    the last one holds; those that it overtakes go along with it."""
    changes: dict[str, list[Outbound]] = {}
    for one in outbound:
        if digest := hashed(one.fields.get("email")):
            changes.setdefault(digest, []).append(one)
    requests = []
    for change, method in _METHODS:
        digests = [digest for digest, several in changes.items() if several[-1].change == change]
        for start in range(0, len(digests), MAX_BATCH):
            part = digests[start : start + MAX_BATCH]
            session = {
                "session_id": _session_id(outbound[0].batch, method),
                "batch_seq": start // MAX_BATCH + 1,
                "last_batch_flag": start + MAX_BATCH >= len(digests),
                "estimated_num_total": len(digests),
            }
            told = [o for digest in part for o in changes[digest]]
            requests.append(_request(config, method, part, session, told))
    return requests


def _session_id(batch: str, method: str) -> int:
    """Meta's number for one upload; the same for the same outbound batch, so a repeat is known as one."""
    return int.from_bytes(hashlib.sha256(f"{batch}/{method}".encode()).digest()[:8], "big") >> 1


def _request(
    config: ConnectorConfig,
    method: str,
    digests: Sequence[str],
    session: dict[str, Any],
    outbound: Iterable[Outbound],
) -> Request:
    payload = msgspec.json.encode({"schema": ["EMAIL"], "data": [[digest] for digest in digests]})
    form = {"payload": payload, "session": msgspec.json.encode(session)}
    headers = {
        "authorization": f"Bearer {config.secrets['access_token']}",
        "content-type": "application/x-www-form-urlencoded",
    }
    url = f"{base_url(config, BASE_URL)}/{VERSION}/{config.settings['audience_id']}/users"
    return Request(method, url, headers, urlencode(form).encode(), tuple(outbound))


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    """Reads the answer. Meta names only samples of the entries it could not use."""
    try:
        reply = _decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        reply = _Reply()
    if answer.status != 200 or reply.error is not None:
        return _refused(request, answer, reply.error or _Error())
    if reply.num_received is None:
        return [Judgement(o, "retry", "Meta's answer could not be read") for o in request.outbound]
    digests = {o.id: hashed(o.fields.get("email")) for o in request.outbound}
    invalid = _named(reply.invalid_entry_samples)
    people = len(set(digests.values()))
    unnamed = max(0, reply.num_invalid_entries - len(invalid.intersection(digests.values())))
    none_used = reply.num_received == 0 or reply.num_invalid_entries >= people
    note = f"Meta could not use {unnamed} of {people} entries and did not name them" if unnamed else ""
    return [
        Judgement(o, "dead", "Meta could not use the entry")
        if none_used or digests[o.id] in invalid
        else Judgement(o, "delivered", note)
        for o in request.outbound
    ]


def _refused(request: Request, answer: Answer, error: _Error) -> list[Judgement]:
    code = error.code
    subcode = f"/{error.error_subcode}" if error.error_subcode else ""
    reason = f"Meta answered {answer.status}" + (f" with error {code}{subcode}" if code else "")
    if code == _TOKEN_REFUSED:
        reason += ": the access token is refused; renew it"
        return [Judgement(o, "retry", reason, after_s=_TOKEN_RETRY_S) for o in request.outbound]
    unread = answer.status < 300 and not code
    if error.is_transient or code in _PASSING or unread or (passes(answer.status) and code != _INVALID):
        after = _regain_s(answer)
        return [Judgement(o, "retry", reason, after_s=after) for o in request.outbound]
    return [Judgement(o, "dead", reason) for o in request.outbound]


def _regain_s(answer: Answer) -> float | None:
    """How long Meta will go on refusing, which it says in minutes in a header of its own."""
    try:
        usage = _decode_usage(answer.headers.get("x-business-use-case-usage", "{}"))
    except msgspec.DecodeError:
        return None
    waits = [one.get("estimated_time_to_regain_access") for several in usage.values() for one in several]
    return max((60.0 * wait for wait in waits if isinstance(wait, int | float) and wait > 0), default=None)


def _named(samples: Any) -> set[str]:
    """The hashes among the samples, which come as a map or as a list, a whole row or its value."""
    texts = [*samples, *samples.values()] if isinstance(samples, dict) else samples or []
    return {digest for text in texts for digest in _HASH.findall(str(text))}


_EXAMPLE: Final = Example(
    {"audience_id": "23842000000000001"},
    {"access_token": "a-token"},
    lambda n: {"email": f"user{n}@example.com"},
    lambda request: Answer(200, {}, b'{"num_received": 1, "num_invalid_entries": 0}'),
)

CONNECTOR: Final = Connector(MAX_BATCH, frozenset({"add", "remove"}), check, render, judge, example=_EXAMPLE)
