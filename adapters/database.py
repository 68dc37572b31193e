"""How this process reaches PostgreSQL: one engine, bounded waits, durable commits, and as the application.

The application's role adds to the log and cannot change it (docs/decisions/0005-roles-and-archive.md).
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from adapters.keys.keyring import OPTION, Keyring
from adapters.keys.management import KeyManagement
from domain.mendable import Mendable

#: The role that every part of Roundtrip works as, whoever it has logged in as.
APPLICATION_ROLE: Final = "roundtrip_app"

#: A lock or statement that waits longer than this is given up: the caller answers "try again".
LOCK_TIMEOUT_MS: Final = 10_000
#: A server is given up that does not take a connection, does not take in what it was sent or gives no sign of life for
#: so long, in seconds: without these, what the network swallows is waited for for hours.
CONNECT_TIMEOUT_S: Final = 10
SILENT_S: Final = 30
_WATCH: Final = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "tcp_user_timeout": SILENT_S * 1_000,
    "keepalives_idle": SILENT_S // 2,
    "keepalives_interval": SILENT_S // 6,
    "keepalives_count": 3,
}
#: What a store raises that does not answer, or has no room: SQLAlchemy's errors, and the driver's own where its cursor
#: is used.
STORE_ERRORS: Final = (SQLAlchemyError, psycopg.Error)
#: A transaction that does nothing for so long is ended: its locks would stop everybody else.
IDLE_TIMEOUT_MS: Final = 120_000


class RoleError(Mendable, psycopg.ProgrammingError):
    """The database lets this login not work as the application."""


def open_database(
    url: str,
    *,
    application: str,
    keys: KeyManagement | None = None,
    pool_size: int = 5,
    schema: str | None = None,
) -> Engine:
    """An engine whose connections name `application`, commit durably, and have the application's role.

    Connecting raises SQLAlchemy's `ProgrammingError` of a `RoleError` where the login cannot have that role.
    With `keys`, personal data is sealed and opened by them (`adapters.keys.keyring`); without, whoever meets
    some is told `KeysMissingError`. With `schema`, names are looked up there first: a rebuild keeps its tables
    beside the live ones.
    """
    options = f"-c synchronous_commit=on -c lock_timeout={LOCK_TIMEOUT_MS}"
    options += f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
    if schema is not None:
        options += f" -c search_path={schema},public"
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        execution_options={} if keys is None else {OPTION: Keyring(keys)},
        connect_args={"application_name": f"roundtrip {application}", "options": options, **_WATCH},
    )
    event.listen(engine, "connect", _become_application)
    return engine


def open_as_owner(url: str, *, application: str, schema: str = "public") -> Engine:
    """An engine for what only the owner of the log's tables may do, on the log in `schema`."""
    options = f"-c synchronous_commit=on -c search_path={schema}"
    return create_engine(
        url, connect_args={"application_name": f"roundtrip {application}", "options": options}
    )


def kind_of(error: Exception) -> str:
    """What kind of error of the store it is, which is all that may be told: the text may hold somebody's data."""
    return type(error.orig if isinstance(error, DBAPIError) else error).__name__


def _become_application(driver: psycopg.Connection[Any], _: object) -> None:
    try:
        driver.execute(f"SET ROLE {APPLICATION_ROLE}")
    except psycopg.errors.InvalidParameterValue as error:
        raise RoleError(
            f"the database '{driver.info.dbname}' has no role {APPLICATION_ROLE}; run `roundtrip migrate`"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise RoleError(
            f"user '{driver.info.user}' of the database may not work as {APPLICATION_ROLE}; as an administrator:"
            f' GRANT {APPLICATION_ROLE} TO "{driver.info.user}"'
        ) from error
    driver.commit()
