"""Meta Custom Audiences: people in and out of an ad audience, named by hashes of their identifiers.

Source: developers.facebook.com/docs/marketing-api: reference/custom-audience/users,
audiences/guides/custom-audiences; docs/graph-api: guides/error-handling, overview/rate-limiting.
Adding and removing twice is as once, so a repeated request needs no key; `session` names it all the same,
as one of Meta's guides requires it. Fields: `email`, `phone`, `external_id`, `madid`; the last two go as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
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
from adapters.connectors.hashing import device, email, phone_digits, sha256
from adapters.connectors.judging import latest
from adapters.connectors.settings import base_url, check_base_url, check_names, wrong
from domain.outbound import Change, Outbound

BASE_URL: Final = "https://graph.facebook.com"
VERSION: Final = "v25.0"
MAX_BATCH: Final = 10_000

#: Removals first: Meta keeps people, not hashes, and who was removed by an old address and added by a new
#: one has to be in the audience afterwards.
_METHODS: Final[tuple[tuple[tuple[Change, ...], str], ...]] = (
    (("remove", "delete"), "DELETE"),
    (("add",), "POST"),
)

#: Unknown error, service down, and the limits of app, user, page, calls and custom audiences.
_PASSING: Final = frozenset({1, 2, 4, 17, 32, 341, 613, 80003, 80004})
#: A token that is expired or revoked is the operator's to mend, and the people are not at fault: there is
#: a quarter of an hour until the retry policy gives up.
_TOKEN_REFUSED: Final = 190
_TOKEN_RETRY_S: Final = 110.0
#: 100 (invalid parameter) stays wrong, whatever status it comes with.
_INVALID: Final = 100

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


def hashed(value: object) -> str:
    """The hash by which Meta finds a person; empty when this is no e-mail address."""
    return sha256(email(value))


def _as_it_is(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


#: What may be declared, under which key Meta takes it, and in which form.
_KEYS: Final[tuple[tuple[str, str, Callable[[object], str]], ...]] = (
    ("external_id", "EXTERN_ID", _as_it_is),
    ("email", "EMAIL", hashed),
    ("phone", "PHONE", lambda value: sha256(phone_digits(value))),
    ("madid", "MADID", device),
)


def _keys(one: Outbound) -> dict[str, str]:
    """What of the person Meta can use."""
    values = {key: form(one.fields.get(field)) for field, key, form in _KEYS}
    return {key: value for key, value in values.items() if value}


def _who(one: Outbound) -> str:
    return "&".join(f"{key}={value}" for key, value in _keys(one).items())


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """Removals and adds, each in requests of at most `MAX_BATCH` people. Of several changes of one person
    the last one holds; those that it overtakes go along with it. Erasing is removing."""
    people = latest(outbound, _who)
    requests = []
    for changes, method in _METHODS:
        told = [who for who, several in people.items() if several[-1].change in changes]
        for start in range(0, len(told), MAX_BATCH):
            part = told[start : start + MAX_BATCH]
            session = {
                "session_id": _session_id(outbound[0].batch, method),
                "batch_seq": start // MAX_BATCH + 1,
                "last_batch_flag": start + MAX_BATCH >= len(told),
                "estimated_num_total": len(told),
            }
            rows = [_keys(people[who][-1]) for who in part]
            carried = [one for who in part for one in people[who]]
            requests.append(_request(config, method, rows, session, carried))
    return requests


def _session_id(batch: str, method: str) -> int:
    """Meta's number for one upload; the same for the same outbound batch, so a repeat is known as one."""
    return int.from_bytes(hashlib.sha256(f"{batch}/{method}".encode()).digest()[:8], "big") >> 1


def _request(
    config: ConnectorConfig,
    method: str,
    rows: Sequence[dict[str, str]],
    session: dict[str, Any],
    outbound: Iterable[Outbound],
) -> Request:
    schema = [key for _, key, _ in _KEYS if any(key in row for row in rows)]
    data = [[row.get(key, "") for key in schema] for row in rows]
    payload = msgspec.json.encode({"schema": schema, "data": data})
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
    named = _named(reply.invalid_entry_samples)
    hashes = {o.id: set(_keys(o).values()) for o in request.outbound}
    people = latest(request.outbound, _who)
    invalid = {who for who, several in people.items() if hashes[several[-1].id] & named}
    unnamed = max(0, reply.num_invalid_entries - len(invalid))
    none_used = reply.num_received == 0 or reply.num_invalid_entries >= len(people)
    note = f"Meta could not use {unnamed} of {len(people)} entries and did not name them" if unnamed else ""
    return [
        Judgement(o, "dead", "Meta could not use the entry")
        if none_used or _who(o) in invalid
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

CONNECTOR: Final = Connector(
    MAX_BATCH, frozenset({"add", "remove", "delete"}), check, render, judge, example=_EXAMPLE
)
