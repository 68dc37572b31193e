"""What a destination in which people work, as a CRM, is known to hold: the last value that it was told, or that was
heard from it by its paired feed. It is told what differs from that, and nothing else.

What it says is ordered by its own clock, what it was told by the log. The two meet where it says what it did with what
it was told: docs/decisions/0150-two-way-sync.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from domain.records import Record

#: So many values that were told and not heard of since are remembered for each field.
REMEMBERED: Final = 8


class Mirror(NamedTuple):
    """One field of one person at a destination. `value` is what it is known to hold; `heard_at` the latest time, by its
    own clock (microseconds), that it has said something of the field; `told` are values that it may have been given by
    us since, oldest first: it has not said so yet."""

    value: Any
    heard_at: int = 0
    told: tuple[Any, ...] = ()


class Pair(NamedTuple):
    """A connection and the feed that brings back what becomes of its `fields` (the destination's name → our attribute)
    at the destination. A record with all the properties `own` tells what we did there ourselves."""

    connection: str
    fields: Mapping[str, str]
    own: Mapping[str, str]

    def made(self, record: Record) -> bool:
        """Whether the record tells of a change that this connection made."""
        return all(text_of(record.properties.get(name)) == value for name, value in self.own.items())


def attributes_of(pairs: Iterable[Pair], record: Record, said: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes, by our names, that a record of a paired feed says. Of what we did ourselves, none."""
    if any(pair.made(record) for pair in pairs):
        return {}
    found = dict(said)
    for pair in pairs:
        for name in said.keys() & pair.fields.keys():
            found.pop(name, None)
    for pair in pairs:
        found |= {ours: said[name] for name, ours in pair.fields.items() if name in said}
    return found


def hear(
    mirrors: dict[str, dict[str, Mirror]], pairs: Sequence[Pair], record: Record, said: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """Notes what a record of a paired feed says: the attributes that are news by it, and whether anything is known to
    be held now that was not before.

    A record of a change (`track`) says what was changed then. One of a person (`identify`) says what a destination
    held at that time or later, whenever it came to: where that may be what we gave it, it is no news.
    """
    news, moved = attributes_of(pairs, record, said), False
    for pair in pairs:
        for name in sorted(said.keys() & pair.fields.keys()):
            held = mirrors.setdefault(pair.connection, {})
            before = held.get(name)
            held[name], known = _heard(before, said[name], record, pair)
            moved = moved or before is None or not alike(before.value, held[name].value)
            if known:
                news.pop(pair.fields[name], None)
    return news, moved


def _heard(before: Mirror | None, value: Any, record: Record, pair: Pair) -> tuple[Mirror, bool]:
    """The field as it is known then, and whether what was said is known already."""
    at, own = record.occurred_at, pair.made(record)
    if before is None:
        return Mirror(value, at), own
    latest = at >= before.heard_at
    if own:
        # What was told after it is still on its way, and will be what is held.
        rest = _after(before.told, value)
        if not latest:
            return before._replace(told=rest), True
        return Mirror(rest[-1] if rest else value, at, rest), True
    if record.type == "identify":
        if not latest:
            return before, True
        if alike(before.value, value):
            return Mirror(before.value, at), True
        return Mirror(value, at, before.told), any(alike(one, value) for one in before.told)
    return (Mirror(value, at, before.told) if latest else before), False


def _after(told: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """What was told after a value; all of it where that is not remembered."""
    place = next((place for place, one in enumerate(told, 1) if alike(one, value)), 0)
    return told[place:]


def tell(held: dict[str, Mirror], fields: Mapping[str, Any]) -> None:
    """Notes what a destination is told."""
    for name, value in fields.items():
        before = held.get(name)
        if before is None:
            held[name] = Mirror(value, told=(value,))
        else:
            told = (*(before.told or (before.value,)), value)
            held[name] = Mirror(value, before.heard_at, told[-REMEMBERED:])


def merge_mirrors(into: dict[str, dict[str, Mirror]], other: Mapping[str, Mapping[str, Mirror]]) -> None:
    """Of two people who are one, per field what was heard of later. Commutative and associative."""
    for connection, fields in other.items():
        held = into.setdefault(connection, {})
        for name, mirror in fields.items():
            held[name] = max(held.get(name, mirror), mirror, key=_rank)


def _rank(mirror: Mirror) -> tuple[int, bytes]:
    return mirror.heard_at, _encode(mirror)


def alike(one: Any, other: Any) -> bool:
    """Whether two values are one where all values are texts, and no value is the empty text."""
    return text_of(one) == text_of(other)


def text_of(value: Any) -> str:
    """A value as a destination that knows texts alone has it."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _encode(value).decode()


_encode = msgspec.json.Encoder(order="deterministic").encode
