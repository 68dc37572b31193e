"""Values that are told apart and counted, and numbers that are added up: exact, bounded, and mergeable in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from domain.audiences.events import SUM_LIMIT
from domain.audiences.flat import element
from domain.audiences.leaves import micro
from domain.audiences.matching import as_number
from domain.traits.definition import LONGEST_VALUE, MOST_VALUES

_MICRO: Final = 1_000_000
#: A total in millionths is kept in two parts, as no part may be greater than 64 bits.
_PART: Final = 10**18
_WHOLE: Final = 2**53


def number_of(value: Any) -> float | None:
    """The value as a number that can be added up, `None` where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < SUM_LIMIT:
        return None
    return as_number(value)


def scalar_of(value: Any) -> bool | float | str | None:
    """The value where it can be told apart from others: text of a bounded length, a number, true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return as_number(value)
    return value if isinstance(value, str) and len(value) <= LONGEST_VALUE else None


def plain(value: float) -> int | float:
    """A number as it is written: whole ones without a point."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def plainly(value: bool | float | str) -> bool | int | float | str:
    return plain(value) if isinstance(value, float) else value


def add(total: list[int], value: float) -> None:
    """Adds a value to a total, whose parts, high and low, are the last two of a list."""
    add_parts(total, 0, micro(value))


def add_parts(total: list[int], high: int, low: int) -> None:
    carry, total[-1] = divmod(total[-1] + low, _PART)
    total[-2] += high + carry


def total_of(parts: list[int]) -> float:
    """A total as a number, exact to six decimals."""
    return (parts[0] * _PART + parts[1]) / _MICRO


def scalar_in(key: str) -> bool | int | float | str:
    """The value that `element` has written."""
    kind, _, text = key.partition(":")
    if kind == "t":
        return text
    return text == "True" if kind == "b" else plain(float(text))


def most_frequent(counts: Mapping[str, int]) -> bool | int | float | str | None:
    """The value that was there most often; of several, true and false come before numbers, numbers before text, and
    the lesser first."""
    if not counts:
        return None
    most = max(counts.values())
    return min((scalar_in(key) for key, count in counts.items() if count == most), key=in_order)


def in_order(value: bool | float | str) -> tuple[int, bool | float | str]:
    return (0 if isinstance(value, bool) else 2 if isinstance(value, str) else 1, value)


def counted(values: Iterable[bool | float | str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        key = element(value)
        counts[key] = counts.get(key, 0) + 1
    return counts


def rank(key: str) -> str:
    """Where values are too many, those of the lowest rank stay: the same ones whatever order they came in."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def bounded(counts: dict[str, int]) -> tuple[dict[str, int], str]:
    """As many values as are told apart, and the highest rank that still stays; empty where all of them do."""
    if len(counts) <= MOST_VALUES:
        return counts, ""
    kept = sorted(counts, key=rank)[:MOST_VALUES]
    return {key: counts[key] for key in kept}, rank(kept[-1])
