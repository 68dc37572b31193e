"""Quiet hours: a part of each day, by the clock where a person is, in which nobody is to be disturbed.

A time that the clock shows twice, or leaves out, as it is put back or forward counts as quiet wherever it may be meant.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class QuietHours(msgspec.Struct, frozen=True):
    """From `begin` to `end` (HH:MM, the next day's where that is earlier) of each day by the clock of `zone`."""

    begin: str
    end: str
    zone: str


def quiet_until(hours: QuietHours, at: int) -> int | None:
    """When the quiet hours end that this moment is in, `None` where it is in none; microseconds."""
    zone = ZoneInfo(hours.zone)
    begin, end = time.fromisoformat(hours.begin), time.fromisoformat(hours.end)
    today = (_EPOCH + at * _MICROSECOND).astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        last = day if begin < end else day + timedelta(days=1)
        until = max(_moments(last, end, zone))
        if min(_moments(day, begin, zone)) <= at < until:
            return until
    return None


def is_zone(name: object) -> bool:
    """Whether this is a zone of the IANA time zone database."""
    # Looked up among all names: a person's attribute never becomes a path.
    return isinstance(name, str) and name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _moments(day: date, at: time, zone: ZoneInfo) -> list[int]:
    """When it may be that the clock shows this: one moment, but where the clock is changed."""
    shown = datetime.combine(day, at, tzinfo=zone)
    return [(shown.replace(fold=fold).astimezone(UTC) - _EPOCH) // _MICROSECOND for fold in (0, 1)]
