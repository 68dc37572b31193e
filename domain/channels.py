"""Channels: ways to reach a person that several connections share, and how often and when each may be used for one.

A message counts from when it is decided until it is known what became of it and, once delivered, for as long as a cap
looks back. So of any messages that reach a person, no more lie within a cap's length of time than it says: the last of
them was decided when each other one was still open, or had been delivered before and was counted.
"""

from __future__ import annotations

import re
from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from domain.audiences.durations import Duration, format_duration
from domain.quiet import QuietHours, is_zone, quiet_until
from domain.secret_ref import Model

#: The changes that reach a person. Whoever is taken out or deleted is told nothing by it.
REACHES: Final = frozenset({"add", "event"})
#: A cap may allow so many messages.
MOST: Final = 100
#: Events of one person that wait for the end of a channel's quiet hours.
WAITING_LIMIT: Final = 20
#: So begin the names of timers that are a channel's and no audience's.
_TIMER: Final = "channel:"
_ATTRIBUTE: Final = "attribute."
_is_clock_time: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]").fullmatch


def _clock_time(said: Any) -> str:
    if isinstance(said, str) and _is_clock_time(said):
        return said
    # What YAML makes of an unquoted 21:00.
    if isinstance(said, int) and 600 <= said < 1_440:
        raise ValueError(f'write the time in quotes: "{said // 60}:{said % 60:02}"')
    raise ValueError(f'{said!r} is no time of day: write hours and minutes in quotes, as in "21:00"')


def _zone(said: Any) -> str:
    if is_zone(said):
        return str(said)
    raise ValueError(f"{said!r} is no time zone; one is Europe/Berlin")


def _zone_or_attribute(said: Any) -> str:
    if isinstance(said, str) and said.startswith(_ATTRIBUTE) and said != _ATTRIBUTE:
        return said
    if is_zone(said):
        return str(said)
    raise ValueError(
        f"{said!r} is no time zone: write one, as Europe/Berlin, or the attribute that holds a person's, as"
        " attribute.timezone"
    )


ClockTime = Annotated[str, BeforeValidator(_clock_time)]


class Cap(Model):
    """At most so many messages to one person within any such length of time."""

    at_most: int = Field(ge=1, le=MOST)
    within: Duration


class Quiet(Model):
    """The quiet hours of each day: `from`, `to`, and by which clock, a zone's or that of the attribute which holds a
    person's. `otherwise` is the zone of whoever has none."""

    from_: Annotated[ClockTime, Field(alias="from")]
    to: ClockTime
    zone: Annotated[str, BeforeValidator(_zone_or_attribute)]
    otherwise: Annotated[str, BeforeValidator(_zone)] = "UTC"

    @model_validator(mode="after")
    def _part_of_a_day(self) -> Quiet:
        if self.from_ == self.to:
            raise ValueError(f"quiet hours from {self.from_} to {self.to} would never end: write two times")
        return self


class Channel(Model):
    """How often, and when, one person may be reached by all connections of the channel together."""

    cap: Annotated[list[Cap], Field(max_length=5)] = []
    quiet: Quiet | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Channel:
        if not self.cap and self.quiet is None:
            raise ValueError("a channel has a 'cap', or 'quiet' hours, or both")
        return self


class Waiting(NamedTuple):
    """An event that is to go out once the quiet hours are over."""

    connection: str
    event: str
    occurred_at: int
    properties: dict[str, Any]


class Reached(msgspec.Struct, array_like=True):
    """How one person was reached by a channel. `open` are messages of which it is not known yet what became, by
    connection and cause; `delivered` are log times (microseconds), in order."""

    open: list[tuple[str, int]] = []
    delivered: list[int] = []
    waiting: list[Waiting] = []


def hours_of(channel: Channel, attribute: Callable[[str], Any]) -> QuietHours | None:
    """The quiet hours of a person, by the values of their attributes."""
    quiet = channel.quiet
    if quiet is None:
        return None
    zone: Any = quiet.zone
    if quiet.zone.startswith(_ATTRIBUTE):
        zone = attribute(quiet.zone.removeprefix(_ATTRIBUTE))
    return QuietHours(quiet.from_, quiet.to, zone if is_zone(zone) else quiet.otherwise)


def capped(name: str, channel: Channel, reached: Reached, now: int) -> str:
    """Why one message more would be too many, empty where it is not."""
    for cap in channel.cap:
        past = len(reached.delivered) - bisect_right(reached.delivered, now - cap.within)
        if len(reached.open) + past >= cap.at_most:
            return f"the cap of channel '{name}': at most {cap.at_most} within {format_duration(cap.within)}"
    return ""


def note_outcome(
    channel: Channel, reached: Reached, message: tuple[str, int], delivered_at: int | None
) -> None:
    """Takes in what became of a message."""
    if message in reached.open:
        reached.open.remove(message)
    if delivered_at is None:
        return
    insort(reached.delivered, delivered_at)
    looks_back = max((cap.within for cap in channel.cap), default=0)
    most = max((cap.at_most for cap in channel.cap), default=0)
    del reached.delivered[: bisect_right(reached.delivered, delivered_at - looks_back)]
    del reached.delivered[: max(0, len(reached.delivered) - most)]


def merge_reached(a: Reached, b: Reached) -> Reached:
    """How one person was reached who was taken for two."""
    delivered = sorted([*a.delivered, *b.delivered])[-MOST:]
    waiting = sorted([*a.waiting, *b.waiting], key=lambda one: (one.occurred_at, one.connection, repr(one)))
    return Reached(sorted([*a.open, *b.open]), delivered, waiting)


def reached_apart(
    before: Mapping[str, Reached], folded: Mapping[str, Reached], first: bool, at: int
) -> dict[str, Reached]:
    """How one of two persons was reached who had been taken for one: as often as both. `folded` says which events of
    the one wait; outcomes to come are the `first` one's, and for the other what is open counts as delivered `at`."""
    found = {channel: Reached(waiting=one.waiting) for channel, one in folded.items() if one.waiting}
    for channel, one in before.items():
        mine = found.setdefault(channel, Reached())
        mine.open = list(one.open) if first else []
        mine.delivered = [*one.delivered, *([] if first else [at] * len(one.open))][-MOST:]
    return found


def why_not_now(
    name: str, channel: Channel, reached: Reached, attribute: Callable[[str], Any], now: int
) -> str:
    """Why a message would not go out now, empty where it would."""
    hours = hours_of(channel, attribute)
    until = None if hours is None else quiet_until(hours, now)
    return waits(name, until) if until is not None else capped(name, channel, reached, now)


def waits(name: str, until: int) -> str:
    """The reason of what is not sent in quiet hours."""
    over = datetime.fromtimestamp(until // 1_000_000, UTC).isoformat()
    return f"quiet hours of channel '{name}' until {over}; it goes out then, if it still holds"


def timer_of(channel: str) -> str:
    """The name of the timer that a channel's quiet hours end by."""
    return _TIMER + channel


def channels_of(timers: Iterable[str]) -> list[str]:
    """The channels whose timers are among these."""
    return [name.removeprefix(_TIMER) for name in timers if name.startswith(_TIMER)]
