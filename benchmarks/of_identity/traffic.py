"""What comes in: of a hundred events 80 are of people who are known, 15 of people seen for the first time, and 5 show
that two profiles are one.

Somebody known does a few things one after the other. Each new person is a device nobody has met; each merge is a
person who signs in on one of those.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from domain.records import Entry, Identifier, Record, entry_of

#: What people do; the traits are computed from it.
EVENTS: Final = ("Order Completed", "Product Viewed", "Session Started")
TRAITS: Final[dict[str, Any]] = {
    "lifetime_value": {"event": "Order Completed", "compute": "sum", "of": "total"},
    "orders_of_late": {"event": "Order Completed", "compute": "count", "within": "90d"},
    "usual_order": {"event": "Order Completed", "compute": "average", "of": "total"},
    "dearest_order": {"event": "Order Completed", "compute": "max", "of": "total"},
    "last_product": {"event": "Order Completed", "compute": "last", "of": "product"},
    "favourite": {"event": "Product Viewed", "compute": "most_frequent", "of": "category"},
    "categories": {"event": "Product Viewed", "compute": "distinct_count", "of": "category"},
    "views": {"event": "Product Viewed", "compute": "count"},
    "days_since_session": {"event": "Session Started", "compute": "time_since"},
    "first_channel": {"event": "Session Started", "compute": "first", "of": "channel"},
}

#: Events of somebody known that follow one another.
_SESSION: Final = 5
_NEW: Final = 0.15
_MERGING: Final = 0.05


class Traffic(NamedTuple):
    """Entries in order, and how many of them are of which kind."""

    entries: list[Entry]
    new: int
    merging: int


def user(number: int) -> Identifier:
    return Identifier("user_id", f"user-{number:07d}")


def device(number: int) -> Identifier:
    return Identifier("anonymous_id", f"device-{number:07d}")


def properties(chance: random.Random) -> dict[str, Any]:
    return {
        "total": chance.randrange(1, 200),
        "product": f"sku-{chance.randrange(1_000):04d}",
        "category": ("garden", "kitchen", "toys", "books", "outdoor")[chance.randrange(5)],
        "channel": ("search", "mail", "push", "friend")[chance.randrange(4)],
        "currency": "EUR",
    }


def traffic(events: int, people: int, begin: int) -> Traffic:
    """So many events among so many known people, from `begin` (microseconds) on."""
    chance = random.Random(7)
    known = _sessions(chance, people)
    visitors: list[Identifier] = []
    entries: list[Entry] = []
    merging = 0
    for number in range(events):
        who: tuple[Identifier, ...]
        drawn = chance.random()
        if drawn < _MERGING and visitors:
            place = chance.randrange(len(visitors))
            visitors[place], visitors[-1] = visitors[-1], visitors[place]
            who = (user(chance.randrange(people)), visitors.pop())
            merging += 1
            entries.append(_entry(number, begin, "identify", "", who, {"traits": {"plan": "pro"}}))
            continue
        if drawn < _MERGING + _NEW:
            visitors.append(Identifier("anonymous_id", f"visitor-{number:07d}"))
            who = (visitors[-1],)
        else:
            who = next(known)
        said = {"properties": properties(chance)}
        entries.append(_entry(number, begin, "track", EVENTS[chance.randrange(len(EVENTS))], who, said))
    return Traffic(entries, len(visitors) + merging, merging)


def _sessions(chance: random.Random, people: int) -> Iterator[tuple[Identifier, ...]]:
    while True:
        number = chance.randrange(people)
        for _ in range(_SESSION):
            yield user(number), device(number)


def _entry(
    number: int, begin: int, type: Any, name: str, who: Sequence[Identifier], said: dict[str, Any]
) -> Entry:
    ids = {"userId" if one.kind == "user_id" else "anonymousId": one.value for one in who}
    body = {"type": type, "messageId": f"m-{number}", **ids, **said}
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{number}",
            type=type,
            name=name,
            occurred_at=begin + number,
            identifiers=tuple(who),
            properties_at="properties",
            traits_at="traits" if "traits" in said else "",
            body=msgspec.Raw(msgspec.json.encode(body)),
        )
    )
