"""Rows as records, by a mapping. A row that does not fit is refused with a reason that names the column and
never repeats its value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from domain.identifiers import read_identifier
from domain.records import Identifier, Record, derive_id
from feeds.coercion import boolean, coercer, microseconds, read_time
from feeds.mapping import Column
from feeds.mapping import Mapping as TableMapping

Row = Mapping[str, Any]
_encode = msgspec.json.Encoder().encode


class RowError(Exception):
    """A row was refused. `code` is for programs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def record_maker(
    feed: str, mapping: TableMapping, file: str, began_at: int
) -> Callable[[int, dict[str, Any]], Record]:
    """The function that makes a record of a row's number and values; it raises `RowError`.

    `file` is what tells this file's content from others'; `began_at` is the import's time in microseconds.
    """
    identifiers = tuple((kind, column, _getter(column)) for kind, column in mapping.identifiers.items())
    checks = tuple((name, one.column, _reader(one)) for name, one in mapping.values.items())
    consents = tuple((purpose, column, _getter(column)) for purpose, column in mapping.consent.items())
    known_by = _getter(mapping.id) if mapping.id else None
    event = _getter(mapping.event_column) if mapping.event_column else None
    place = "traits" if mapping.type == "identify" else "properties"
    used = {*mapping.identifiers.values(), *mapping.consent.values(), mapping.id, mapping.event_column}
    used |= {mapping.time.column} if mapping.time else set()
    time, namespace = mapping.time, derive_id("file", file)

    def make(number: int, row: dict[str, Any]) -> Record:
        message_id = f"{namespace}:{number}"
        if known_by is not None:
            message_id = _name(known_by(row), mapping.id)
        values: dict[str, Any] = {}
        if checks:
            for name, column, read in checks:
                try:
                    found = read(row)
                except ValueError as error:
                    raise RowError("wrong_value", f"column '{column}' {error}") from None
                if found is not None:
                    values[name] = found
        else:
            values = {key: cell for key, cell in row.items() if cell not in (None, "") and key not in used}
        occurred_at = began_at
        if time is not None:
            occurred_at = _when(row, time, began_at)
        body: dict[str, Any] = {"row": row, place: values}
        return Record(
            feed=feed,
            message_id=message_id,
            type=mapping.type,
            name=mapping.event if event is None else _name(event(row), mapping.event_column),
            occurred_at=occurred_at,
            identifiers=_identified(row, identifiers),
            body=msgspec.Raw(_encode(body)),
            properties_at=place if place == "properties" else "",
            traits_at=place if place == "traits" else "",
            consent=_consent(row, consents) if consents else {},
        )

    return make


Get = Callable[[Row], Any]


def _getter(column: str) -> Get:
    if "." not in column:
        return lambda row: row.get(column)
    parts = column.split(".")

    def dig(row: Row) -> Any:
        if column in row:
            return row[column]
        found: Any = row
        for part in parts:
            found = found.get(part) if isinstance(found, dict) else None
        return found

    return dig


def _reader(column: Column) -> Get:
    get, coerce = _getter(column.column), coercer(column.kind, column.format)
    bounded = column.min is not None or column.max is not None

    def read(row: Row) -> Any:
        cell = get(row)
        if cell is None or cell == "":
            if column.required:
                raise ValueError("is empty, and a value is required")
            return None
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

    return read


def _name(cell: Any, column: str) -> str:
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if not isinstance(cell, str) or not cell or "\x1f" in cell:
        raise RowError("no_name", f"column '{column}' has no text")
    return cell if len(cell) <= 512 else "sha256:" + hashlib.sha256(cell.encode()).hexdigest()


def _when(row: Row, time: Column, began_at: int) -> int:
    cell = _getter(time.column)(row)
    if cell is None or cell == "":
        if time.required:
            raise RowError("no_time", f"column '{time.column}' is empty, and a time is required")
        return began_at
    try:
        return microseconds(read_time(cell, time.format))
    except ValueError as error:
        raise RowError("unreadable_time", f"column '{time.column}' {error}") from None


def _identified(row: Row, kinds: tuple[tuple[str, str, Get], ...]) -> tuple[Identifier, ...]:
    found = []
    for kind, column, get in kinds:
        cell = get(row)
        if cell is None or cell == "":
            continue
        read = read_identifier(kind, str(cell))
        if read is None:
            raise RowError("unreadable_identifier", f"column '{column}' is no {kind}")
        found.append(read)
    if not found:
        names = ", ".join(f"'{column}'" for _, column, _ in kinds)
        raise RowError("no_identifier", f"a person is named by one of the columns {names}")
    return tuple(found)


def _consent(row: Row, purposes: tuple[tuple[str, str, Get], ...]) -> dict[str, bool]:
    given: dict[str, bool] = {}
    for purpose, column, get in purposes:
        cell = get(row)
        if cell is None or cell == "":
            continue
        try:
            given[purpose] = boolean(cell)
        except ValueError as error:
            raise RowError("wrong_consent", f"column '{column}' {error}") from None
    return given
