"""How fast a destination may be talked to: declared, and learnt from what it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

#: A destination that says when its quota begins anew is waited for at most so long, in seconds.
RESET_CAP_S: Final = 600.0

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE: Final = re.compile(r"([1-9][0-9]{0,6})/([smh])")


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: float


#: What may be sent at once after a pause, as a share of the rate's requests, and at least.
_AT_ONCE: Final = 0.05
_LEAST_AT_ONCE: Final = 2


def at_once(rate: Rate) -> float:
    """How many requests may follow one another without a wait after a pause. The others are spread evenly: a whole
    period's requests at once, and those of the period that begins, would be twice as many as the rate allows."""
    return min(rate.requests, max(_LEAST_AT_ONCE, _AT_ONCE * rate.requests))


def read_rate(value: Any) -> Rate:
    """The rate that `10/s`, `300/m` or `5000/h` mean. Raises `ValueError` that shows how to write it."""
    if isinstance(value, Rate):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no rate: write requests and a unit, as in 10/s, 300/m or 5000/h")
    return Rate(int(match[1]), _UNITS[match[2]])


def write_rate(rate: Rate) -> str:
    unit = next(unit for unit, seconds in _UNITS.items() if seconds == rate.seconds)
    return f"{rate.requests}/{unit}"


DeclaredRate = Annotated[Rate, BeforeValidator(read_rate), PlainSerializer(write_rate, return_type=str)]


def pause_s(headers: Mapping[str, str]) -> float:
    """How long the destination's own headers ask to wait before the next request, in seconds; 0 where it has room.

    Reads `RateLimit-Remaining` and `RateLimit-Reset` (IETF draft-ietf-httpapi-ratelimit-headers, seconds) and their
    `X-RateLimit-` forms. A reset that is a moment in time, as some vendors send, is not understood and left alone.
    """
    for prefix in ("ratelimit", "x-ratelimit", "x-rate-limit"):
        remaining, reset = headers.get(f"{prefix}-remaining"), headers.get(f"{prefix}-reset")
        if remaining is None or reset is None:
            continue
        try:
            left, after = float(remaining), float(reset)
        except ValueError:
            continue
        if left > 0 or not 0 <= after <= RESET_CAP_S:
            continue
        return after
    return 0.0
