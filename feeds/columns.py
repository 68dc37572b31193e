"""A column's cells as values: at once where they are all alike, else cell by cell, with the same outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from feeds.arrow_times import microseconds_of, parse_times, text_of
from feeds.coercion import boolean, coercer, microseconds, read_time
from feeds.mapping import Column

#: Told of a cell that does not fit: its place in the column, and why.
Fail = Callable[[int, str], None]

_NONE: Final = type(None)
_NATIVE: Final = {"integer": {int, _NONE}, "number": {float, _NONE}, "boolean": {bool, _NONE}}
_LONG: Final = range(-(2**63), 2**63)


def read_column(cells: Sequence[Any], one: Column, fail: Fail) -> Sequence[Any]:
    """The values, `None` for an empty cell and for one that does not fit."""
    values = _at_once(cells, one)
    return values if values is not None else _one_by_one(cells, _reader(one), fail)


def read_booleans(cells: Sequence[Any], fail: Fail) -> Sequence[Any]:
    """True, false, or `None` for an empty cell."""
    values = _distinct(cells, boolean)
    return values if values is not None else _one_by_one(cells, _unless_empty(boolean), fail)


def read_moments(cells: Sequence[Any], one: Column, fail: Fail) -> Sequence[Any]:
    """Microseconds since the epoch, `None` for an empty cell."""
    times = None if one.format else parse_times(cells)
    if times is not None and not (one.required and times.null_count):
        return microseconds_of(times)

    def read(cell: Any) -> int:
        return microseconds(read_time(cell, one.format))

    return _one_by_one(cells, _unless_empty(read, one.required), fail)


def _at_once(cells: Sequence[Any], one: Column) -> Sequence[Any] | None:
    """`None` where a cell has to be looked at by itself."""
    values = _coerced(cells, one)
    if values is None or (one.required and None in values):
        return None
    if one.one_of:
        try:
            if not set(values) <= {None, *one.one_of}:
                return None
        except TypeError:
            return None
    if one.min is not None or one.max is not None:
        there = [value for value in values if value is not None]
        if not set(map(type, there)) <= {int, float}:
            return None
        if there and one.min is not None and min(there) < one.min:
            return None
        if there and one.max is not None and max(there) > one.max:
            return None
    return values


def _coerced(cells: Sequence[Any], one: Column) -> Sequence[Any] | None:
    kinds = set(map(type, cells))
    if one.kind == "text":
        return [cell or None for cell in cells] if kinds <= {str, _NONE} else None
    if one.kind == "time" and one.format:
        return _distinct(cells, coercer(one.kind, one.format))
    if one.kind == "time":
        times = parse_times(cells)
        return None if times is None else [text and text + "Z" for text in text_of(times)]
    if one.kind in ("integer", "number") and kinds <= {str, _NONE}:
        return _numbers(cells, int if one.kind == "integer" else float)
    if kinds <= _NATIVE.get(one.kind, set()):
        return cells if _in_range(cells) else None
    return _distinct(cells, boolean) if one.kind == "boolean" else None


def _numbers(cells: Sequence[str | None], read: Callable[[str], int | float]) -> Sequence[Any] | None:
    """Text as numbers. Python would also read 1_000, which no other program writes."""
    try:
        values = [read(cell) if cell else None for cell in cells]
    except ValueError:
        return None
    return values if _in_range(values) and "_" not in "".join(filter(None, cells)) else None


def _in_range(values: Sequence[Any]) -> bool:
    """Whether a column of whole numbers keeps within 64 bits, or one of others to what is finite."""
    there = [value for value in values if value is not None]
    if there and type(there[0]) is int:
        return min(there) in _LONG and max(there) in _LONG
    # What is not finite goes into the sum; a sum that is too large itself leads to the slower way alone.
    return math.isfinite(sum(there))


def _distinct(cells: Sequence[Any], coerce: Callable[[Any], Any]) -> Sequence[Any] | None:
    """Each text read once, however often it is there."""
    if not set(map(type, cells)) <= {str, bool, _NONE}:
        return None
    try:
        known = {cell: None if cell in (None, "") else coerce(cell) for cell in set(cells)}
    except ValueError:
        return None
    return list(map(known.__getitem__, cells))


def _one_by_one(cells: Iterable[Any], read: Callable[[Any], Any], fail: Fail) -> list[Any]:
    values: list[Any] = []
    for index, cell in enumerate(cells):
        try:
            values.append(read(cell))
        except ValueError as error:
            values.append(None)
            fail(index, str(error))
    return values


def _unless_empty(read: Callable[[Any], Any], required: bool = False) -> Callable[[Any], Any]:
    def read_or_none(cell: Any) -> Any:
        if cell is None or cell == "":
            if required:
                raise ValueError("is empty, and a value is required")
            return None
        return read(cell)

    return read_or_none


def _reader(column: Column) -> Callable[[Any], Any]:
    coerce = coercer(column.kind, column.format)
    bounded = column.min is not None or column.max is not None

    def read(cell: Any) -> Any:
        value = coerce(cell)
        if column.one_of and value not in column.one_of:
            raise ValueError("is none of the values that the mapping allows")
        if bounded:
            if not isinstance(value, (int, float)):
                raise ValueError("is not a number, and has bounds")
            if column.min is not None and value < column.min:
                raise ValueError(f"is below {column.min:g}")
            if column.max is not None and value > column.max:
                raise ValueError(f"is above {column.max:g}")
        return value

    return _unless_empty(read, column.required)
