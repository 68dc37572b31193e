"""How log times are written for people and programs."""

from __future__ import annotations

from datetime import UTC, datetime


def written(at_us: int) -> str:
    """A time in microseconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat()
