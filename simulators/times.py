"""Simulated time as text and as whole microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(text: object) -> int:
    """Microseconds since the epoch. Raises `ValueError` where `text` is no RFC 3339 time with its offset."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"{text!r} is no RFC 3339 time: write one with its offset, as in 2026-01-05T00:00:00Z"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def write_time(at: int) -> str:
    """RFC 3339 in UTC, to the millisecond: `2026-01-05T00:00:00.000Z`."""
    moment = _EPOCH + timedelta(microseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
