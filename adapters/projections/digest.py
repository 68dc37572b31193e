"""Digests of projections: equal for equal content, whatever order the rows were written in."""

from __future__ import annotations

from typing import NamedTuple

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


def first_difference(connection: Connection, a: str, b: str, table: str) -> str:
    """The key of the first row that the two schemas do not have in common, and in what it differs."""
    keys = [column.name for column in _known(table).primary_key]
    key = ", ".join(f'"{name}"' for name in keys)
    row = connection.execute(
        text(
            f'SELECT {key}, x.side FROM ((SELECT *, \'live only\' AS side FROM (SELECT * FROM "{a}"."{table}"'  # noqa: S608
            f' EXCEPT SELECT * FROM "{b}"."{table}") l) UNION ALL'
            f' (SELECT *, \'rebuilt only\' FROM (SELECT * FROM "{b}"."{table}"'
            f' EXCEPT SELECT * FROM "{a}"."{table}") r)) x ORDER BY {key}, x.side LIMIT 1'
        )
    ).one()
    named = ", ".join(f"{name}={value}" for name, value in zip(keys, row, strict=False))
    return f"{named} ({row[-1]})"


def _known(table: str) -> Table:
    return metadata.tables[table]
