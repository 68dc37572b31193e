"""How a length of time is written: a whole number and a unit, `30s`, `15m`, `24h`, `7d`, `2w`.

A day is always 24 hours and a week seven days; there are no months, whose length would depend on the date.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from domain.audiences.words import refusal

SECOND: Final = 1_000_000
#: Unit → its length in microseconds, longest first.
UNITS: Final[dict[str, int]] = {
    "w": 7 * 86_400 * SECOND,
    "d": 86_400 * SECOND,
    "h": 3_600 * SECOND,
    "m": 60 * SECOND,
    "s": SECOND,
}
_PATTERN: Final = r"^[1-9][0-9]{0,5}[smhdw]$"
_is_duration: Final = re.compile(_PATTERN).fullmatch


def parse_duration(value: Any) -> int:
    """The microseconds that `7d` and its like mean. Raises a pydantic error that shows how to write it."""
    if isinstance(value, str) and _is_duration(value):
        return int(value[:-1]) * UNITS[value[-1]]
    raise refusal(
        f"{value!r} is not a length of time: write a whole number above 0 (up to six digits) and a unit, "
        "as in 30s, 15m, 24h, 7d or 2w"
    )


def format_duration(microseconds: int) -> str:
    """The shortest way to write a length that `parse_duration` gave: 604,800,000,000 is `1w`."""
    for unit, length in UNITS.items():
        if microseconds % length == 0:
            return f"{microseconds // length}{unit}"
    raise ValueError(f"{microseconds} µs cannot be written: lengths of time are whole seconds")


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["30s", "15m", "24h", "7d", "2w"]}),
]
