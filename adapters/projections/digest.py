"""Digests of projections: equal for equal content, whatever order the rows were written in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, text

from adapters.projections.schema import metadata


class Digest(NamedTuple):
    """How many rows, and the sum of the rows' 64-bit hashes."""

    rows: int
    sum: int


def digest(connection: Connection, schema: str, table: str) -> Digest:
    """The digest of a projection's table in a schema."""
    _known(table)
    row = connection.execute(
        text(
            "SELECT count(*), coalesce(sum(hash_record_extended(t, 0)::numeric), 0)"  # noqa: S608
            f' FROM "{schema}"."{table}" t'
        )
    ).one()
    return Digest(int(row[0]), int(row[1]))


class Difference(NamedTuple):
    """A row in which two schemas part: its key's columns, and which of them have it so."""

    key: Mapping[str, Any]
    side: str

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.key.items()) + f" ({self.side})"


def differences(connection: Connection, a: str, b: str, table: str, limit: int) -> list[Difference]:
    """The first rows, by key, that the two schemas do not have in common."""
    keys = [column.name for column in _known(table).primary_key]
    key = ", ".join(f'"{name}"' for name in keys)
    rows = connection.execute(
        text(
            f'SELECT {key}, x.side FROM ((SELECT *, \'live only\' AS side FROM (SELECT * FROM "{a}"."{table}"'  # noqa: S608
            f' EXCEPT SELECT * FROM "{b}"."{table}") l) UNION ALL'
            f' (SELECT *, \'rebuilt only\' FROM (SELECT * FROM "{b}"."{table}"'
            f' EXCEPT SELECT * FROM "{a}"."{table}") r)) x ORDER BY {key}, x.side LIMIT {limit:d}'
        )
    )
    return [Difference(dict(zip(keys, row, strict=False)), row[-1]) for row in rows]


def _known(table: str) -> Table:
    return metadata.tables[table]
