"""When something is due that runs by cron. All times are in microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def check_timezone(name: str) -> None:
    """Raises `ValueError` for one that is not known."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"timezone '{name}' is not known; one is Europe/Berlin") from None


def check_schedule(schedule: str) -> None:
    """Raises `ValueError` for what is not cron's syntax."""
    try:
        CronSim(schedule, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"schedule '{schedule}' is not cron's syntax ({error})") from None


def latest_due(schedule: str, timezone: str, now: int) -> int | None:
    """The latest time of a schedule that is not behind `now`, `None` where there is none."""
    # Cron's times are whole seconds: that of `now` itself is the first one looked at.
    begin = (_EPOCH + timedelta(seconds=now // 1_000_000 + 1)).astimezone(ZoneInfo(timezone))
    return _time_of(next(CronSim(schedule, begin, reverse=True), None))


def upcoming(schedule: str, timezone: str, now: int) -> int | None:
    """The first time of a schedule behind `now`, `None` where there is none."""
    at = (_EPOCH + now * _MICROSECOND).astimezone(ZoneInfo(timezone))
    return _time_of(next(CronSim(schedule, at), None))


def _time_of(found: datetime | None) -> int | None:
    return None if found is None else (found.astimezone(UTC) - _EPOCH) // _MICROSECOND
