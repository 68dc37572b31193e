"""Cells as values: text out of a file, read as what the mapping says it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from feeds.feed import FeedError
from feeds.reading import check_depth, read_json

Kind = Literal["text", "integer", "number", "boolean", "time", "json"]

_TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0"})
_INTEGERS: Final = range(-(2**63), 2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def coercer(kind: Kind, format: str = "") -> Callable[[Any], Any]:
    """The function that reads a cell as this kind. It raises `ValueError` where the cell is none.

    A time comes out in RFC 3339.
    """
    match kind:
        case "text":
            return _text
        case "integer":
            return _integer
        case "number":
            return _number
        case "boolean":
            return boolean
        case "time":
            return lambda value: read_time(value, format).isoformat().replace("+00:00", "Z")
        case "json":
            return _json


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal, date)):
        return str(value)
    raise ValueError("is not text")


def _integer(value: Any) -> int:
    try:
        if isinstance(value, bool) or (not isinstance(value, str) and int(value) != value):
            raise ValueError
        # `int` would also read 1_000, which no other program writes.
        found = int(value) if not isinstance(value, str) or "_" not in value else None
    except (ValueError, TypeError, OverflowError):
        found = None
    if found is None or found not in _INTEGERS:
        raise ValueError("is not a whole number of at most 64 bits")
    return found


def _number(value: Any) -> float:
    try:
        found = float(value) if not isinstance(value, (bool, str)) or _is_plain(value) else math.nan
    except (ValueError, TypeError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("is not a number; the decimal sign is a point")
    return found


def _is_plain(value: bool | str) -> bool:
    return isinstance(value, str) and "_" not in value


def boolean(value: Any) -> bool:
    """True or false, also as yes and no, 1 and 0, and their first letters. Raises `ValueError`."""
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    if said in _TRUE:
        return True
    if said in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def read_time(value: Any, format: str) -> datetime:
    """A time in UTC. Raises `ValueError`."""
    try:
        if isinstance(value, str):
            value = datetime.strptime(value, format) if format else datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    wanted = f"as in the format {format}" if format else "as in 2026-11-24T10:15:30Z (RFC 3339)"
    raise ValueError(f"is not a time {wanted}")


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch."""
    return (at - _EPOCH) // _MICROSECOND


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        check_depth(value.encode())
        return read_json(value.encode())
    except FeedError:
        raise ValueError("is not JSON") from None
