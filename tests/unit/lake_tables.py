"""Histories as the lake's relations, for tests of compiled audiences: rows made as the lake makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from domain.audiences.flat import flatten

_VALUES = [
    pa.field("texts", pa.map_(pa.string(), pa.string())),
    pa.field("numbers", pa.map_(pa.string(), pa.float64())),
    pa.field("truths", pa.map_(pa.string(), pa.bool_())),
    pa.field("lists", pa.map_(pa.string(), pa.list_(pa.string()))),
    pa.field("objects", pa.list_(pa.string())),
]
_WHO = [("position", pa.int64()), ("occurred_at", pa.int64()), ("node", pa.string())]
SCHEMAS = {
    "events": pa.schema([*_WHO, ("name", pa.string()), *_VALUES]),
    "attributes": pa.schema([*_WHO, ("priority", pa.int64()), ("name", pa.string()), *_VALUES]),
    "consents": pa.schema([*_WHO, ("purpose", pa.string()), ("given", pa.bool_())]),
    "identity": pa.schema([("node", pa.string()), ("who", pa.int32())]),
    "person": pa.schema([("who", pa.int32()), ("profile", pa.string())]),
}


def values(properties: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten(properties)
    return {
        "texts": list(flat.texts.items()),
        "numbers": list(flat.numbers.items()),
        "truths": list(flat.truths.items()),
        "lists": list(flat.lists.items()),
        "objects": flat.objects,
    }


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"})


def lake(tables: Mapping[str, Iterable[dict[str, Any]]]) -> duckdb.DuckDBPyConnection:
    """A DuckDB with these rows in its relations, until the next one is asked for."""
    connection = _duckdb()
    profiles = dict.fromkeys(row["profile"] for row in tables.get("identity", ()))
    numbers = {profile: number for number, profile in enumerate(profiles, 1)}
    who = [{"node": row["node"], "who": numbers[row["profile"]]} for row in tables.get("identity", ())]
    person = [{"who": number, "profile": profile} for profile, number in numbers.items()]
    tables = {**tables, "identity": who, "person": person}
    for name, schema in SCHEMAS.items():
        connection.register(name, pa.Table.from_pylist(list(tables.get(name, ())), schema=schema))
    return connection
