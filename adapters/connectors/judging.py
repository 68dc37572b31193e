"""What answers mean that are not the vendor's own, and what of several changes of one person holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from adapters.connectors.connector import Answer, Judgement, Request, Verdict, passes
from domain.outbound import Change, Outbound

#: Credentials that are refused are the operator's to mend, and the people are not at fault: there is a quarter of
#: an hour until the retry policy gives up.
REFUSED_RETRY_S: Final = 110.0

#: What a change is called where a destination has no words of its own for it.
CHANGE_TYPES: Final[Mapping[Change, str]] = {
    "add": "audience.entered",
    "remove": "audience.exited",
    "delete": "profile.erased",
    "event": "event.tracked",
}

_CREDENTIALS: Final = frozenset({401, 403})
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

T = TypeVar("T")


def all_are(request: Request, verdict: Verdict, reason: str = "", reference: str = "") -> list[Judgement]:
    return [Judgement(one, verdict, reason, reference) for one in request.outbound]


def refused(vendor: str, request: Request, answer: Answer, said: str = "") -> list[Judgement]:
    """What a status that is no success means for every record. `said` are words of the vendor that name nobody.

    A success that is not the one that was expected cannot be read, and is tried again.
    """
    status = answer.status
    reason = f"{vendor} answered {status}" + (f": {said}" if said else "")
    if status in _CREDENTIALS:
        reason += "; the credentials are refused: renew them"
        return [Judgement(one, "retry", reason, after_s=REFUSED_RETRY_S) for one in request.outbound]
    return all_are(request, "retry" if passes(status) or status < 300 else "dead", reason)


def unreadable(vendor: str, request: Request) -> list[Judgement]:
    return all_are(request, "retry", f"{vendor}'s answer could not be read")


def code(word: object) -> str:
    """A vendor's own word for an error, such as `INVALID_ARGUMENT`; empty for any other text, which may well be
    of a person."""
    return word if isinstance(word, str) and _CODE.fullmatch(word) else ""


def read(answer: Answer, shape: type[T]) -> T | None:
    """The answer's body as this; `None` where it is not."""
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def latest(outbound: Sequence[Outbound], key: Callable[[Outbound], str]) -> dict[str, list[Outbound]]:
    """The records by whom they are about, in order: of several changes of one the last holds, and those that it
    overtakes go along with it. Whoever has an empty key is left out."""
    known: dict[str, list[Outbound]] = {}
    for one in outbound:
        if who := key(one):
            known.setdefault(who, []).append(one)
    return known


def text(outbound: Outbound, field: str) -> str:
    """The field's value where it is a text; empty otherwise."""
    value = outbound.fields.get(field)
    return value if isinstance(value, str) else ""


def others(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields but for these."""
    return {name: value for name, value in fields.items() if name not in names}


def when(outbound: Outbound) -> str:
    """When an event happened, in ISO 8601 with milliseconds."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=outbound.occurred_at)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
