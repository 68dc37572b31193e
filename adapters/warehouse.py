"""A query against a warehouse, page by page: any database that SQLAlchemy speaks to, or a file of DuckDB's.

The warehouse is only read. What its drivers complain about may hold data, so errors tell their kind alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import duckdb
import msgspec
import sqlalchemy
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

#: Rows of a page.
PAGE: Final = 5_000
#: A page of rows: Arrow's record batch, or column → values.
Page = Any
#: A colon that SQLAlchemy would take for the beginning of a parameter.
_COLON: Final = re.compile(r"(?<![:\w\\]):(?=\w)")


class WarehouseError(Exception):
    """The warehouse did not answer the query."""


def query(url: str, file: str, sql: str, cursor: str = "", since: Any = None) -> Iterator[Page]:
    """The rows of `sql` at a SQLAlchemy `url`, or in DuckDB's `file`. With `cursor`, a column, those from its
    value `since` on, in its order; those without a value are left out.

    Raises `WarehouseError`.
    """
    try:
        yield from _duckdb(file, sql, cursor, since) if file else _sqlalchemy(url, sql, cursor, since)
    except (SQLAlchemyError, duckdb.Error, ImportError, OSError) as error:
        kind = type(getattr(error, "orig", None) or error).__name__
        raise WarehouseError(f"the query failed ({kind})") from error


def _sqlalchemy(url: str, sql: str, cursor: str, since: Any) -> Iterator[Page]:
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    except ArgumentError:
        raise WarehouseError(
            "the warehouse's address is no SQLAlchemy URL, as postgresql+psycopg://…"
        ) from None
    try:
        with engine.connect() as connection:
            quoted = engine.dialect.identifier_preparer.quote(cursor) if cursor else ""
            statement = sqlalchemy.text(_statement(_COLON.sub(r"\\:", sql), quoted, since, ":since"))
            given = {} if since is None else {"since": since}
            options = {"stream_results": True, "max_row_buffer": PAGE}
            rows = connection.execution_options(**options).execute(statement, given)
            names = list(rows.keys())
            for part in rows.partitions(PAGE):
                columns = zip(*part, strict=True)
                yield {name: list(cells) for name, cells in zip(names, columns, strict=True)}
    finally:
        engine.dispose()


def _duckdb(file: str, sql: str, cursor: str, since: Any) -> Iterator[Page]:
    # An extension is code: it is there with the package, or it is not loaded.
    config: dict[str, Any] = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    with duckdb.connect(file, read_only=file != ":memory:", config=config) as connection:
        quoted = '"' + cursor.replace('"', '""') + '"' if cursor else ""
        given = None if since is None else [since]
        found: Any = connection.sql(_statement(sql, quoted, since, "?"), params=given)
        if found is None:
            raise WarehouseError("the query gives no rows; write one that does, such as SELECT … FROM …")
        yield from found.to_arrow_reader(PAGE)


def _statement(sql: str, cursor: str, since: Any, parameter: str) -> str:
    sql = sql.strip().removesuffix(";")
    if not cursor:
        return sql
    condition = f"{cursor} IS NOT NULL" if since is None else f"{cursor} >= {parameter}"
    return f"SELECT * FROM ({sql}\n) AS roundtrip_query WHERE {condition} ORDER BY {cursor}"  # noqa: S608


def cursor_text(value: Any) -> str:
    """A cursor's value as the log keeps it. Raises `WarehouseError` for a kind that has no order to rely on."""
    kind, said = "", value
    match value:
        case bool():
            pass
        case datetime():
            kind, said = "time", value.isoformat()
        case date():
            kind, said = "date", value.isoformat()
        case int() | str():
            kind, said = "plain", value
        case Decimal():
            kind, said = "decimal", str(value)
        case _:
            pass
    if not kind:
        raise WarehouseError(
            f"a cursor of the type {type(value).__name__} is not known; times, dates, whole numbers and text are"
        )
    return msgspec.json.encode([kind, said]).decode()


def cursor_value(text: str) -> Any:
    """The value that `cursor_text` wrote."""
    kind, said = msgspec.json.decode(text)
    match kind:
        case "time":
            return datetime.fromisoformat(said)
        case "date":
            return date.fromisoformat(said)
        case "decimal":
            return Decimal(said)
        case _:
            return said
