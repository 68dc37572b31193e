"""What a record is in the analytical history: an event, the attributes that it set, the consents that it told.

A row is told by a node, an identifier of the person's, and not by a profile: profiles are joined when the
history is asked, so that a merge rewrites nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from domain.consent import consents_of
from domain.derived import event_name
from domain.identity_rules import Rules, leader_of
from domain.mirrors import Pair, attributes_of
from domain.records import Record, dig, node_id
from domain.standard_fields import typed

_body: Final = msgspec.json.Decoder().decode


class HappenedRow(NamedTuple):
    """An event, with its properties."""

    position: int
    recorded_at: int
    occurred_at: int
    node: str
    feed: str
    name: str
    properties: Mapping[str, Any]


class AttributeRow(NamedTuple):
    """One attribute that a record set. `priority` is the feed's, as it was then."""

    position: int
    recorded_at: int
    occurred_at: int
    node: str
    priority: int
    name: str
    value: Any


class ConsentRow(NamedTuple):
    """One purpose that a record told about, and under which law and version of which document."""

    position: int
    recorded_at: int
    occurred_at: int
    node: str
    purpose: str
    given: bool
    feed: str
    jurisdiction: str
    document: str


HistoryRow = HappenedRow | AttributeRow | ConsentRow


def anchor(record: Record, subject: str, rules: Rules) -> str | None:
    """The node whose record it is: that of the identifier that led it, by the rules of its time. Whosever it is, that
    identifier is theirs, also once they are unmerged. `None` for a record that is nobody's."""
    leader = leader_of(record, subject, rules)
    return None if leader is None else node_id(leader)


def history_of(
    record: Record, position: int, recorded_at: int, node: str, priority: int, pairs: Sequence[Pair] = ()
) -> Iterator[HistoryRow]:
    """The rows that a record is in the history. What it says of the future is taken as of its receipt; `pairs` are
    the connections whose fields its feed brings back."""
    at = min(record.occurred_at, recorded_at)
    body = None
    if record.type in ("track", "page", "screen"):
        body = _body(record.body)
        properties = dig(body, record.properties_at) | record.properties
        yield HappenedRow(position, recorded_at, at, node, record.feed, event_name(record), properties)
    if record.traits_at or record.traits:
        traits = dig(body if body is not None else _body(record.body), record.traits_at) | record.traits
        for name, value in typed(attributes_of(pairs, record, traits)).taken.items():
            yield AttributeRow(position, recorded_at, at, node, priority, name, value)
    if record.consent:
        for purpose, said in consents_of(record, recorded_at, position).items():
            terms = (said.feed, said.jurisdiction, said.document)
            yield ConsentRow(position, recorded_at, said.occurred_at, node, purpose, said.given, *terms)
