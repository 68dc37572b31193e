"""Blocks of rows as records, by a mapping. A row that does not fit is rejected with a reason that names the
column and never repeats its value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import msgspec

from domain.identifiers import read_identifiers
from domain.records import ConsentTerms, Identifier, Record, derive_id
from feeds.blocks import Block
from feeds.columns import read_booleans, read_column, read_moments
from feeds.mapping import Mapping
from feeds.objects import json_of, objects_of
from feeds.rows import FileError, Rejected

#: What a record cannot hold: a number out of range, text that is none, a type that JSON does not know.
_UNKEPT = (msgspec.ValidationError, OverflowError, UnicodeEncodeError, TypeError)


class Mapped(NamedTuple):
    """What became of a block's rows: records with their rows' numbers, and the rows that were rejected, both in
    order."""

    numbers: Sequence[int]
    records: Sequence[Record]
    rejected: Sequence[Rejected]

    def behind(self, number: int) -> Mapped:
        """What became of the rows behind the one with this number."""
        after = [one > number for one in self.numbers]
        rejected = [one for one in self.rejected if one.number > number]
        return Mapped(list(compress(self.numbers, after)), list(compress(self.records, after)), rejected)


class _Failed:
    """The rows of a block that do not fit, each with the first reason that was found."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[str, str]] = {}

    def of(self, code: str, column: str) -> Callable[[int, str], None]:
        def fail(index: int, reason: str) -> None:
            self.rows.setdefault(index, (code, f"column '{column}' {reason}"))

        return fail


def block_reader(feed: str, mapping: Mapping, file: str, began_at: int) -> Callable[[Block], Mapped]:
    """The function that makes records of a block's rows.

    `file` is what tells this file's content from others'; `began_at` is the import's time in microseconds. It
    raises `FileError` where the mapping names a column that the file has not.
    """
    place = "traits" if mapping.type == "identify" else "properties"
    properties_at, traits_at = ("", place) if place == "traits" else (place, "")
    namespace = derive_id("file", file)

    def read(block: Block) -> Mapped:
        _check_names(block, mapping)
        count, failed = len(block), _Failed()
        ids: Iterable[Any] = [f"{namespace}:{number}" for number in block.numbers]
        if mapping.id:
            ids = _names(block.column(mapping.id), failed.of("no_name", mapping.id))
        values = _values(block, mapping, failed)
        times: Iterable[Any] = [began_at] * count
        if mapping.time is not None:
            column = mapping.time.column
            found = read_moments(block.column(column), mapping.time, failed.of("unreadable_time", column))
            times = found if None not in found else [began_at if at is None else at for at in found]
        events: Iterable[Any] = [mapping.event] * count
        if mapping.event_column:
            events = _names(block.column(mapping.event_column), failed.of("no_name", mapping.event_column))
        identified = _identified(block, mapping, failed)
        consents = _consents(block, mapping, failed)
        bodies = _bodies(block, place, values, failed)
        numbers: Sequence[int] = block.numbers
        columns: list[Iterable[Any]] = [ids, times, events, identified, consents, bodies]
        if failed.rows:
            good = [index not in failed.rows for index in range(count)]
            numbers, columns = list(compress(numbers, good)), [compress(one, good) for one in columns]
        records = [
            Record(
                feed=feed,
                message_id=message_id,
                type=mapping.type,
                name=name,
                occurred_at=at,
                identifiers=who,
                body=msgspec.Raw(body),
                properties_at=properties_at,
                traits_at=traits_at,
                consent=consent,
                consent_terms=terms,
            )
            for message_id, at, name, who, (consent, terms), body in zip(*columns, strict=True)
        ]
        return Mapped(numbers, records, _rejected(block, failed))

    return read


def _check_names(block: Block, mapping: Mapping) -> None:
    if block.names is None:
        return
    there = set(block.names)
    for column in mapping.columns:
        if column not in there and column.partition(".")[0] not in there:
            raise FileError(
                f"the mapping names column '{column}', which the file has not; it has {', '.join(block.names)}"
            )


def _values(block: Block, mapping: Mapping, failed: _Failed) -> Sequence[Any]:
    """Traits or properties of each row; those that are declared, or else all columns of no other use."""
    if mapping.values:
        columns = [
            read_column(block.column(one.column), one, failed.of("wrong_value", one.column))
            for one in mapping.values.values()
        ]
        return list(objects_of(mapping.values, columns, sparse=True))
    unused = mapping.columns
    if block.names is None:
        return [
            {key: cell for key, cell in row.items() if cell is not None and cell != "" and key not in unused}
            for row in block.objects
        ]
    names = [name for name in block.names if name not in unused]
    columns = [[None if cell == "" else cell for cell in block.column(name)] for name in names]
    return list(objects_of(names, columns, sparse=True)) if names else [{}] * len(block)


def _bodies(block: Block, place: str, values: Sequence[Any], failed: _Failed) -> Sequence[bytes]:
    """The JSON text of each row and its values; empty where it cannot be kept."""
    bodies = list(objects_of(("row", place), (block.objects, values)))
    try:
        return json_of(bodies)
    except _UNKEPT:
        return [_body(index, body, failed) for index, body in enumerate(bodies)]


def _body(index: int, body: Any, failed: _Failed) -> bytes:
    try:
        return msgspec.json.encode(body)
    except _UNKEPT as error:
        failed.rows[index] = "not_kept", f"the row cannot be kept ({type(error).__name__})"
        return b""


def _rejected(block: Block, failed: _Failed) -> Sequence[Rejected]:
    """The rows that could not be read, and those that did not fit, in order."""
    here = [
        Rejected(block.numbers[index], code, reason, block.row(index) if code != "not_kept" else None)
        for index, (code, reason) in failed.rows.items()
    ]
    return sorted([*block.rejected, *here], key=lambda one: one.number)


def _names(cells: Sequence[Any], fail: Callable[[int, str], None]) -> list[str]:
    names = []
    for index, cell in enumerate(cells):
        if isinstance(cell, int) and not isinstance(cell, bool):
            cell = str(cell)
        if not isinstance(cell, str) or not cell or "\x1f" in cell or "\x00" in cell:
            fail(index, "has no text")
            cell = ""
        names.append(cell if len(cell) <= 512 else "sha256:" + hashlib.sha256(cell.encode()).hexdigest())
    return names


def _identified(block: Block, mapping: Mapping, failed: _Failed) -> Sequence[tuple[Identifier, ...]]:
    columns = [
        _identifiers(kind, block.column(column), failed.of("unreadable_identifier", column))
        for kind, column in mapping.identifiers.items()
    ]
    rows: list[Any] = list(zip(*columns, strict=True))
    if any(None in found for found in columns):
        rows = [tuple(one for one in row if one is not None) for row in rows]
        names = ", ".join(f"'{column}'" for column in mapping.identifiers.values())
        for index, row in enumerate(rows):
            if not row:
                reason = f"a person is named by one of the columns {names}"
                failed.rows.setdefault(index, ("no_identifier", reason))
    return rows


def _identifiers(
    kind: str, cells: Sequence[Any], fail: Callable[[int, str], None]
) -> Sequence[Identifier | None]:
    """A column's identifiers, `None` for an empty cell and for one that is none of this kind."""
    there: Sequence[int] = range(len(cells))
    texts = cells
    if set(map(type, cells)) != {str} or "" in cells:
        there = [index for index, cell in enumerate(cells) if cell is not None and cell != ""]
        texts = [cell if type(cell) is str else str(cell) for cell in map(cells.__getitem__, there)]
    read = read_identifiers(kind, texts)
    if len(read) == len(cells) and None not in read:
        return read
    found: list[Identifier | None] = [None] * len(cells)
    for index, one in zip(there, read, strict=True):
        found[index] = one
        if one is None:
            fail(index, f"is no {kind}")
    return found


def _consents(
    block: Block, mapping: Mapping, failed: _Failed
) -> Sequence[tuple[dict[str, bool], dict[str, ConsentTerms]]]:
    """What each row consents to, and what that was said under."""
    if not mapping.consent:
        return [({}, {})] * len(block)
    terms = {
        purpose: ConsentTerms(jurisdiction=one.jurisdiction, document=one.document)
        for purpose, one in mapping.consent.items()
        if one.jurisdiction or one.document
    }
    columns = [
        read_booleans(block.column(one.column), failed.of("wrong_consent", one.column))
        for one in mapping.consent.values()
    ]
    rows = list(zip(*columns, strict=True))
    given = {}
    for row in set(rows):
        consent = {
            purpose: said for purpose, said in zip(mapping.consent, row, strict=True) if said is not None
        }
        given[row] = consent, {purpose: one for purpose, one in terms.items() if purpose in consent}
    return list(map(given.__getitem__, rows))
