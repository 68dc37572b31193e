"""Times of a whole column at once, by Arrow: text to times, and times to RFC 3339 text.

Arrow reads fewer spellings than `datetime.fromisoformat`; a column with another one is for whoever reads cell
by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow
import pyarrow.compute as compute

_ZONED: Final = pyarrow.timestamp("us", "UTC")
_PLAIN: Final = pyarrow.timestamp("us")
_SECONDS: Final = pyarrow.timestamp("s")
#: The years that Python's calendar has, in microseconds since the epoch.
_FIRST: Final = int(datetime(1, 1, 2, tzinfo=UTC).timestamp()) * 1_000_000
_LAST: Final = int(datetime(9999, 12, 30, tzinfo=UTC).timestamp()) * 1_000_000


def parse_times(cells: Sequence[Any]) -> Any | None:
    """An Arrow array of times in UTC, null for what is empty; `None` where one of the cells is not text that
    Arrow reads. Text without an offset is UTC, where that is so in the whole column."""
    if not set(map(type, cells)) <= {str, type(None)}:
        return None
    array = pyarrow.array([cell or None for cell in cells], pyarrow.string())
    for kind in (_ZONED, _PLAIN):
        try:
            found = compute.cast(compute.cast(array, kind), _PLAIN)
        except pyarrow.ArrowInvalid:
            continue
        edges = compute.min_max(compute.cast(found, pyarrow.int64())).as_py()
        if edges["min"] is None or (edges["min"] >= _FIRST and edges["max"] <= _LAST):
            return found
    return None


def microseconds_of(times: Any) -> list[int | None]:
    """Microseconds since the epoch."""
    found: list[int | None] = compute.cast(times, pyarrow.int64()).to_pylist()
    return found


def text_of(times: Any) -> list[str | None]:
    """RFC 3339, as `datetime.isoformat` writes it; one without a zone gets none."""
    end = "Z" if times.type.tz is not None else ""
    plain = compute.cast(times, pyarrow.timestamp(times.type.unit))
    try:
        seconds = compute.cast(plain, _SECONDS)
    except pyarrow.ArrowInvalid:
        written = compute.cast(plain, pyarrow.string()).to_pylist()
        return [None if one is None else _short(one) + end for one in written]
    text = compute.binary_replace_slice(compute.cast(seconds, pyarrow.string()), 10, 11, "T")
    found: list[str | None] = compute.binary_join_element_wise(text, end, "").to_pylist()
    return found


def _short(written: str) -> str:
    day, _, clock = written.partition(" ")
    whole, _, fraction = clock.partition(".")
    fraction = fraction.rstrip("0")
    return f"{day}T{whole}" if not fraction else f"{day}T{whole}.{fraction.ljust(6, '0')}"
