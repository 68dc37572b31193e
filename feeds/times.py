"""A source's times as microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from feeds.feed import InvalidError, Problem

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(value: Any, pointer: str) -> int:
    """Microseconds since the epoch of an RFC 3339 time; one without an offset is taken as UTC.

    Raises `InvalidError` pointing at what cannot be read.
    """
    found = read_time(value)
    if found is None:
        raise unreadable_time(pointer)
    return found


def read_time(value: Any) -> int | None:
    """As `parse_time`; `None` for what cannot be read."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
        since = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def unreadable_time(pointer: str) -> InvalidError:
    return InvalidError(
        Problem(pointer, "unreadable_time", "a time is written as in 2026-11-24T10:15:30.123Z (RFC 3339)")
    )


def from_seconds(value: Any, pointer: str) -> int:
    """Microseconds since the epoch of Unix time in seconds. Raises `InvalidError` where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 253_402_300_800:
        return round(value * 1_000_000)
    raise InvalidError(Problem(pointer, "unreadable_time", "a Unix time in seconds is expected here"))


def from_milliseconds(value: Any, pointer: str) -> int:
    """Microseconds since the epoch of Unix time in milliseconds. Raises `InvalidError` where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 253_402_300_800_000:
        return round(value * 1_000)
    raise InvalidError(Problem(pointer, "unreadable_time", "a Unix time in milliseconds is expected here"))
