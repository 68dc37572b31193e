"""Splits: a share of everybody, chosen by a hash of the split's name and the person's id.

The hash is the first eight hexadecimal digits of MD5 (RFC 1321), which every SQL engine has: it only has to
spread people evenly. It says the same at any time and in any evaluator.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from domain.audiences.words import refusal


def _percent(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100:
        raise refusal(f"{value!r} is no share: write a number from 0 to 100, which is percent")
    return value


def _share(value: Any) -> Any:
    bounds = value if isinstance(value, (list, tuple)) else (0, value)
    if len(bounds) != 2:
        raise refusal(f"{value!r} is no share: write one number, or [from, to], in percent")
    low, high = map(_percent, bounds)
    if low >= high:
        raise refusal(f"nobody is between {low} and {high} percent: write the lower number first")
    return low, high


Percent = Annotated[int | float, BeforeValidator(_percent), Field(ge=0, le=100)]
Share = Annotated[tuple[float, float], BeforeValidator(_share)]


def bound(percent: float) -> str:
    """The hash that a share ends before, as text that compares as the hashes do."""
    return f"{round(percent / 100 * 2**32):09x}"


def place(split: str, person: str) -> str:
    """Where a person stands in a split: text from `000000000` to `0ffffffff`."""
    return "0" + hashlib.md5(f"{split}:{person}".encode(), usedforsecurity=False).hexdigest()[:8]


def in_share(split: str, person: str, low: float, high: float) -> bool:
    """Whether a person is in the share from `low` to `high` percent."""
    return bound(low) <= place(split, person) < bound(high)
