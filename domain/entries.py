"""Records as rows of the log, many at once: row for row what `entry_for` makes, at half of its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha1
from itertools import repeat
from sys import intern
from typing import Any, Final

import msgspec
import numpy as np

from domain.identity_rules import DEFAULT_RULES, Rules, leading
from domain.records import NAMESPACE, TOPIC_NAME_LIMIT, Entry, Identifier, Record

#: Where the hexadecimal digits stand in a UUID's text.
_DIGITS: Final = np.array([place for place in range(36) if place not in (8, 13, 18, 23)])
#: Without a call into Python for each of many.
_entry: Final[Callable[[Iterable[Any]], Entry]] = partial(tuple.__new__, Entry)

_encode = msgspec.json.Encoder().encode


def entries_for(records: Sequence[Record], rules: Rules = DEFAULT_RULES) -> list[Entry]:
    """The rows that records become, in order, each led by the identifier that leads it by these rules."""
    streams = derive_ids([("record", record.feed, record.message_id) for record in records])
    leaders = _leaders(records, rules)
    distinct = list(dict.fromkeys(one for one in leaders if one is not None))
    nodes = derive_ids([("identifier", *one) for one in distinct])
    subjects = dict(zip(distinct, nodes, strict=True))
    owners = [
        stream if leader is None else subjects[leader]
        for stream, leader in zip(streams, leaders, strict=True)
    ]
    topics = [intern(f"{record.type}.{record.name[:TOPIC_NAME_LIMIT]}") for record in records]
    return list(map(_entry, zip(streams, repeat(1), topics, owners, map(_encode, records), strict=False)))


def _leaders(records: Sequence[Record], rules: Rules) -> Sequence[Identifier | None]:
    """Which of its identifiers leads each record."""
    understood = [rules.understood(record).identifiers for record in records]
    place = _same_place(understood, rules)
    if place is not None:
        return [record.identifiers[place] for record in records]
    return [
        record.identifiers[leading(meant, rules) or 0] if meant else None
        for record, meant in zip(records, understood, strict=True)
    ]


def _same_place(of: Sequence[tuple[Identifier, ...]], rules: Rules) -> int | None:
    """The place of the leading one, where all have the same kinds in the same order and it names somebody in each, as
    in a table."""
    if len(set(map(len, of))) != 1:
        return None
    kinds = [{kind for kind, _ in column} for column in zip(*of, strict=True)]
    if not kinds or any(len(one) != 1 for one in kinds):
        return None
    place = rules.ranked(tuple(kind for [kind] in kinds))[0]
    return None if rules.any_blocked([identifiers[place].value for identifiers in of]) else place


def derive_ids(of: Iterable[Iterable[str]]) -> list[str]:
    """`derive_id(*parts)` for the parts of each of many."""
    texts = map("\x1f".join, of)
    digests = [sha1(NAMESPACE + text.encode(), usedforsecurity=False).digest() for text in texts]
    ids = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 20)[:, :16].copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x50
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80
    text = np.full((len(ids), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = np.frombuffer(ids.tobytes().hex().encode(), np.uint8).reshape(-1, 32)
    together = text.tobytes().decode()
    return [together[at : at + 36] for at in range(0, len(together), 36)]
