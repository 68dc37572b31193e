"""A record that cannot be applied: it is left out, the log says so, and what follows is applied without it.

That it was left out is in the log, so a rebuild leaves it out too, also where a later release could apply it. Handed
in again it is the same stream's next version, at a position of its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from domain.messages import PutAside
from domain.records import Entry, Row, derive_id

#: What the topic of everything in quarantine begins with; the feed follows.
TOPIC_PREFIX: Final = "quarantine."
#: The code of records that the pipeline cannot apply.
NOT_APPLIED: Final = "not_applied"
#: The feed of a record that cannot even be read.
UNREADABLE: Final = "unreadable"

_encode = msgspec.json.Encoder().encode
decode_put_aside = msgspec.json.Decoder(PutAside).decode


class NotAppliedError(Exception):
    """The record at this position cannot be applied. The text has no data in it."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"the record at position {position} cannot be applied: {reason}")
        self.position = position
        self.reason = reason


def reason_of(error: Exception) -> str:
    """What went wrong and where, without what the error says, as that may be personal."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" in {at.tb_frame.f_code.co_name}" if at is not None else ""
    return f"{type(error).__name__}{where}"


def put_aside_of(row: Row, feed: str, reason: str) -> PutAside:
    """The row's record, as the quarantine names it."""
    id = derive_id("quarantine", row.stream_id, str(row.version))
    return PutAside(id, feed, NOT_APPLIED, reason, row.position)


def entry_of_aside(told: PutAside) -> Entry:
    """What the log says of it: nothing of a person's is told."""
    return Entry(told.id, 1, f"{TOPIC_PREFIX}{told.feed}", None, _encode(told))
