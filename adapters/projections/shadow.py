"""Projections beside the live ones: made alike, filled, and put in their place in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import errors
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import Connection

from adapters.log.read import driver_of

_GONE: Final = "roundtrip_replaced"


class DependentError(Exception):
    """Something in the database hangs on a table that is to be replaced."""


def create_shadow(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Makes tables like the live ones, still without their indexes, in a schema that is made anew."""
    drop_shadow(connection, schema)
    driver = driver_of(connection)
    driver.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
    for table in tables:
        there = Identifier(schema, table)
        driver.execute(
            SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES)").format(
                there, Identifier("public", table)
            )
        )
        options = driver.execute(
            "SELECT unnest(reloptions) FROM pg_class WHERE oid = %s::regclass", (f"public.{table}",)
        ).fetchall()
        for (option,) in options:
            name, _, value = option.partition("=")
            driver.execute(
                SQL("ALTER TABLE {} SET ({} = {})").format(there, Identifier(name), Literal(value))
            )


def index_shadow(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Makes the live tables' indexes and keys, under the same names, where they are not there yet."""
    driver = driver_of(connection)
    for table in tables:
        there = Identifier(schema, table)
        found = driver.execute(
            "SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisprimary FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s::regclass AND NOT EXISTS"
            " (SELECT FROM pg_indexes x WHERE x.schemaname = %s AND x.indexname = c.relname)",
            (f"public.{table}", schema),
        ).fetchall()
        for name, definition, primary in found:
            before, _, after = definition.partition(f" ON public.{table} ")
            driver.execute((SQL(before) + SQL(" ON {} ").format(there) + SQL(after)).as_string(driver))
            if primary:
                driver.execute(
                    SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY USING INDEX {}").format(
                        there, Identifier(name), Identifier(name)
                    )
                )
        driver.execute(SQL("ANALYZE {}").format(there))


def lock_live(connection: Connection, tables: Sequence[str], seconds: float) -> None:
    """Takes the live tables for this transaction alone, in the order in which the pipeline takes them.

    Raises psycopg's `LockNotAvailable` after so many seconds, or `DeadlockDetected`."""
    driver = driver_of(connection)
    driver.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(f"{int(seconds * 1000)}ms")))
    for table in tables:
        driver.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(Identifier("public", table)))


def put_in_place(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """Puts the tables into the live ones' place, with the same rights, and drops the old ones.

    Raises `DependentError` where something else hangs on an old one; nothing has changed then."""
    driver = driver_of(connection)
    driver.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(_GONE)))
    driver.execute(SQL("CREATE SCHEMA {}").format(Identifier(_GONE)))
    for table in tables:
        _copy_rights(connection, table, schema)
        live, ours = Identifier("public", table), Identifier(schema, table)
        driver.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(live, Identifier(_GONE)))
        driver.execute(SQL("ALTER TABLE {} SET SCHEMA public").format(ours))
        try:
            driver.execute(SQL("DROP TABLE {}").format(Identifier(_GONE, table)))
        except errors.DependentObjectsStillExist as error:
            detail = error.diag.message_detail or ""
            raise DependentError(
                f"the table '{table}' cannot be replaced: {detail.replace(f'{_GONE}.', '')}; drop that, and make it"
                " again after the rebuild"
            ) from error
    driver.execute(SQL("DROP SCHEMA {}").format(Identifier(_GONE)))


def drop_shadow(connection: Connection, schema: str) -> None:
    """Removes a schema and all that is in it."""
    driver_of(connection).execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))


def _copy_rights(connection: Connection, table: str, schema: str) -> None:
    driver = driver_of(connection)
    granted = driver.execute(
        "SELECT a.privilege_type, a.is_grantable, CASE WHEN a.grantee = 0 THEN NULL ELSE r.rolname END"
        " FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee"
        " WHERE c.oid = %s::regclass AND a.grantee <> c.relowner",
        (f"public.{table}",),
    ).fetchall()
    for privilege, grantable, grantee in granted:
        driver.execute(
            SQL("GRANT {} ON {} TO {}{}").format(
                SQL(privilege),
                Identifier(schema, table),
                SQL("PUBLIC") if grantee is None else Identifier(grantee),
                SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        )
