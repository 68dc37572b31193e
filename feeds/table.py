"""Blocks of rows as records, by a mapping. A row that does not fit is rejected with a reason that names the
column and never repeats its value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from domain.identifiers import read_identifier
from domain.records import ConsentTerms, Identifier, Record, derive_id
from feeds.blocks import Block
from feeds.columns import read_booleans, read_column, read_moments
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected

_encode = msgspec.json.Encoder().encode
#: What a record cannot hold: a number out of range, text that is none, a type that JSON does not know.
_UNKEPT = (msgspec.ValidationError, OverflowError, UnicodeEncodeError, TypeError)


class _Failed:
    """The rows of a block that do not fit, each with the first reason that was found."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[str, str]] = {}

    def of(self, code: str, column: str) -> Callable[[int, str], None]:
        def fail(index: int, reason: str) -> None:
            self.rows.setdefault(index, (code, f"column '{column}' {reason}"))

        return fail


def block_reader(
    feed: str, mapping: Mapping, file: str, began_at: int
) -> Callable[[Block], Iterator[tuple[int, Record | Rejected]]]:
    """The function that makes records of a block's rows, in order and with their numbers, the rejected ones
    among them.

    `file` is what tells this file's content from others'; `began_at` is the import's time in microseconds. It
    raises `FileError` where the mapping names a column that the file has not.
    """
    place = "traits" if mapping.type == "identify" else "properties"
    properties_at, traits_at = ("", place) if place == "traits" else (place, "")
    namespace = derive_id("file", file)
    terms = {
        purpose: ConsentTerms(jurisdiction=one.jurisdiction, document=one.document)
        for purpose, one in mapping.consent.items()
        if one.jurisdiction or one.document
    }

    def read(block: Block) -> Iterator[tuple[int, Record | Rejected]]:
        _check_names(block, mapping)
        count, failed = len(block), _Failed()
        ids: Iterable[Any] = [f"{namespace}:{number}" for number in block.numbers]
        if mapping.id:
            ids = _names(block.column(mapping.id), failed.of("no_name", mapping.id))
        bodies = _values(block, mapping, failed)
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
        rejected = iter(sorted(block.rejected, key=lambda one: one.number))
        waiting = next(rejected, None)
        rows = zip(block.numbers, block.rows, ids, bodies, times, events, identified, consents, strict=True)
        for index, (number, row, message_id, values, at, name, who, consent) in enumerate(rows):
            while waiting is not None and waiting.number < number:
                yield waiting.number, waiting
                waiting = next(rejected, None)
            if index in failed.rows:
                yield number, Rejected(number, *failed.rows[index], row)
                continue
            try:
                body = msgspec.Raw(_encode({"row": row, place: values}))
            except _UNKEPT as error:
                reason = f"the row cannot be kept ({type(error).__name__})"
                yield number, Rejected(number, "not_kept", reason, None)
                continue
            yield (
                number,
                Record(
                    feed=feed,
                    message_id=message_id,
                    type=mapping.type,
                    name=name,
                    occurred_at=at,
                    identifiers=who,
                    body=body,
                    properties_at=properties_at,
                    traits_at=traits_at,
                    consent=consent,
                    consent_terms=terms if consent.keys() == terms.keys() else _those(terms, consent),
                ),
            )
        while waiting is not None:
            yield waiting.number, waiting
            waiting = next(rejected, None)

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


def _values(block: Block, mapping: Mapping, failed: _Failed) -> list[dict[str, Any]]:
    """Traits or properties of each row; those that are declared, or else all columns of no other use."""
    if not mapping.values:
        used = mapping.columns
        return [
            {key: cell for key, cell in row.items() if cell is not None and cell != "" and key not in used}
            for row in block.rows
        ]
    names = tuple(mapping.values)
    columns = [
        read_column(block.column(one.column), one, failed.of("wrong_value", one.column))
        for one in mapping.values.values()
    ]
    rows = zip(*columns, strict=True)
    if not any(None in column for column in columns):
        return [dict(zip(names, cells, strict=True)) for cells in rows]
    return [
        {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None} for cells in rows
    ]


def _those(terms: dict[str, ConsentTerms], consent: dict[str, bool]) -> dict[str, ConsentTerms]:
    return {purpose: terms[purpose] for purpose in consent if purpose in terms} if terms else {}


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


def _identified(block: Block, mapping: Mapping, failed: _Failed) -> Iterable[tuple[Identifier, ...]]:
    columns = []
    for kind, column in mapping.identifiers.items():
        fail = failed.of("unreadable_identifier", column)
        cells = block.column(column)
        # Only where reading is dear does it pay to remember what was read.
        read = read_identifier if kind == "phone" else read_identifier.__wrapped__
        found: list[Identifier | None] = [
            None if cell is None or cell == "" else read(kind, cell if type(cell) is str else str(cell))
            for cell in cells
        ]
        if None in found:
            for index, (cell, one) in enumerate(zip(cells, found, strict=True)):
                if one is None and cell is not None and cell != "":
                    fail(index, f"is no {kind}")
        columns.append(found)
    rows: list[Any] = list(zip(*columns, strict=True))
    if any(None in found for found in columns):
        rows = [tuple(one for one in row if one is not None) for row in rows]
        names = ", ".join(f"'{column}'" for column in mapping.identifiers.values())
        for index, row in enumerate(rows):
            if not row:
                reason = f"a person is named by one of the columns {names}"
                failed.rows.setdefault(index, ("no_identifier", reason))
    return rows


def _consents(block: Block, mapping: Mapping, failed: _Failed) -> Iterable[dict[str, bool]]:
    if not mapping.consent:
        none: dict[str, bool] = {}
        return [none] * len(block)
    columns = [
        read_booleans(block.column(column), failed.of("wrong_consent", column))
        for column in (one.column for one in mapping.consent.values())
    ]
    rows = list(zip(*columns, strict=True))
    given = {
        row: {purpose: said for purpose, said in zip(mapping.consent, row, strict=True) if said is not None}
        for row in set(rows)
    }
    return list(map(given.__getitem__, rows))
