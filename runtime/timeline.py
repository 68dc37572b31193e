"""All that the log holds of one person, the newest first: what came in, followed, went out, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from sqlalchemy import Engine

from adapters.log.read import read_head, read_positions
from adapters.projections.outbound import outcome_positions
from adapters.projections.subjects import positions_of
from domain.profiles import nodes
from domain.records import RECORD_TYPES, Row, record_of
from runtime.profiles import person_of
from runtime.times import written

#: Records on a page, and the most that may be asked for.
PAGE: Final = 50
MOST: Final = 500
_INBOUND: Final = tuple(f"{kind}." for kind in RECORD_TYPES)

_decode = msgspec.json.Decoder().decode


def show_timeline(engine: Engine, said: str, before: int | None = None, limit: int = PAGE) -> dict[str, Any]:
    """A page of the records of whoever `KIND:VALUE` names, below a position where one is given. `next` is the
    position to ask for the page after it by; there is none on the last.

    Raises `NobodyError` where that is nobody, and `IndexBehindError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        profile = person_of(connection, said)
        theirs = {profile.id, *nodes(profile)}
        least = read_head(connection).position + 1 if before is None else before
        places = {
            *positions_of(connection, theirs, before=least, limit=limit + 1),
            *outcome_positions(connection, theirs, least, limit + 1),
        }
        newest = sorted(places, reverse=True)
        rows = read_positions(connection, newest[:limit])
    shown: dict[str, Any] = {"profile": profile.id, "records": [_shown(row) for row in reversed(rows)]}
    return shown | ({"next": newest[limit - 1]} if len(newest) > limit else {})


def _shown(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "position": row.position,
        "at": written(row.recorded_at),
        "record": row.topic,
    }
    if row.erased:
        return found | {"erased": True}
    said: Callable[[bytes], Any] = _inbound if row.topic.startswith(_INBOUND) else _decode
    try:
        return found | {"said": said(row.state)}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The pipeline has put it into quarantine, which says why.
        return found | {"unreadable": True}


def _inbound(state: bytes) -> dict[str, Any]:
    """An inbound record: whose and whence, and the source's own item as it came."""
    record = record_of(state)
    found: dict[str, Any] = {
        "feed": record.feed,
        "message_id": record.message_id,
        "occurred_at": written(record.occurred_at),
        "identifiers": [f"{kind}:{value}" for kind, value in record.identifiers],
        "body": _decode(record.body),
    }
    if record.presumed:
        found["presumed"] = True
    if record.properties:
        found["properties"] = record.properties
    if record.consent:
        found["consent"] = record.consent
    if record.consent_terms:
        found["consent_terms"] = msgspec.to_builtins(record.consent_terms)
    return found
