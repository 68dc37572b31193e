"""History rows as Arrow tables, column by column: making a Python object for each value would cost more than
all the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from domain.audiences.flat import flatten
from domain.history import AttributeRow, ConsentRow, HappenedRow

_TEXT: Final = pa.string()
_WHO: Final = [
    pa.field("position", pa.int64(), nullable=False),
    pa.field("recorded_at", pa.int64(), nullable=False),
    pa.field("occurred_at", pa.int64(), nullable=False),
    pa.field("node", _TEXT, nullable=False),
]
_VALUES: Final = [
    pa.field("texts", pa.map_(_TEXT, _TEXT)),
    pa.field("numbers", pa.map_(_TEXT, pa.float64())),
    pa.field("truths", pa.map_(_TEXT, pa.bool_())),
    pa.field("lists", pa.map_(_TEXT, pa.list_(_TEXT))),
    pa.field("objects", pa.list_(_TEXT)),
]
#: The tables of the history. Times are microseconds since the epoch.
SCHEMAS: Final = {
    "events": pa.schema([*_WHO, pa.field("feed", _TEXT), pa.field("name", _TEXT), *_VALUES]),
    "attributes": pa.schema([*_WHO, pa.field("priority", pa.int64()), pa.field("name", _TEXT), *_VALUES]),
    "consents": pa.schema(
        [
            *_WHO,
            pa.field("purpose", _TEXT),
            pa.field("given", pa.bool_()),
            *(pa.field(name, _TEXT) for name in ("feed", "jurisdiction", "document")),
        ]
    ),
}


def events_table(rows: Sequence[HappenedRow]) -> pa.Table:
    """Events sorted by name, so that a query for a few of them skips what it need not read."""
    ordered = sorted(rows, key=lambda row: (row.name, row.position))
    return _table("events", [[row[:6] for row in ordered], _values(row.properties for row in ordered)])


def attributes_table(rows: Sequence[AttributeRow]) -> pa.Table:
    ordered = sorted(rows, key=lambda row: (row.name, row.position))
    return _table(
        "attributes", [[row[:6] for row in ordered], _values({row.name: row.value} for row in ordered)]
    )


def consents_table(rows: Sequence[ConsentRow]) -> pa.Table:
    return _table("consents", [list(rows), []])


def _table(name: str, parts: list[Any]) -> pa.Table:
    rows, values = parts
    schema = SCHEMAS[name]
    plain = list(schema)[: len(schema) - len(values)]
    columns = list(zip(*rows, strict=True)) or [() for _ in plain]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, plain, strict=True)]
    return pa.Table.from_arrays([*arrays, *values], schema=schema)


def _values(each: Iterable[Any]) -> list[pa.Array]:
    """The values by kind: `texts`, `numbers`, `truths`, `lists`, `objects`."""
    kinds: tuple[_Map, ...] = (_Map(), _Map(), _Map(), _Map())
    object_offsets, objects = [0], []
    for properties in each:
        flat = flatten(properties)
        for column, held in zip(kinds, flat, strict=False):
            assert isinstance(held, dict)
            column.add(held)
        objects += flat.objects
        object_offsets.append(len(objects))
    texts, numbers, truths, lists = kinds
    return [
        texts.array(pa.array(texts.items, _TEXT)),
        numbers.array(pa.array(numbers.items, pa.float64())),
        truths.array(pa.array(truths.items, pa.bool_())),
        lists.array(pa.array(lists.items, pa.list_(_TEXT))),
        pa.ListArray.from_arrays(pa.array(object_offsets, pa.int32()), pa.array(objects, _TEXT)),
    ]


class _Map:
    """A column of maps while it grows."""

    def __init__(self) -> None:
        self.offsets = [0]
        self.keys: list[str] = []
        self.items: list[Any] = []

    def add(self, held: dict[str, Any]) -> None:
        if held:
            self.keys += held
            self.items += held.values()
        self.offsets.append(len(self.keys))

    def array(self, items: pa.Array) -> pa.Array:
        return pa.MapArray.from_arrays(pa.array(self.offsets, pa.int32()), pa.array(self.keys, _TEXT), items)
