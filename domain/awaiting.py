"""Events that wait until it is known by which identifier their destination knows the person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

#: Events of one person that wait for one connection.
AWAITING_LIMIT: Final = 20
#: So begin the names of timers that such events are given up by.
_TIMER: Final = "identifier:"


class Awaiting(NamedTuple):
    """An event that lacks an identifier, until when it waits, and when it happened; times in microseconds."""

    until: int
    occurred_at: int
    event: str
    properties: dict[str, Any]


def timer_of(connection: str) -> str:
    """The name of the timer by which a connection's next event is given up."""
    return _TIMER + connection


def fell_due(timers: Iterable[str]) -> bool:
    """Whether any of these timers gives an event up."""
    return any(name.startswith(_TIMER) for name in timers)


def merge_awaiting(a: Iterable[Awaiting], b: Iterable[Awaiting]) -> list[Awaiting]:
    """What waits of one person who was taken for two."""
    return sorted([*a, *b], key=lambda one: (one.until, one.occurred_at, one.event, repr(one.properties)))
