"""The driver under SQLAlchemy, for what only it can do: COPY, LISTEN, and results in binary."""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import Connection


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """The psycopg connection under a SQLAlchemy connection, for COPY, LISTEN and binary results.

    What is done on it is in the SQLAlchemy connection's transaction, which begins here where none has.
    """
    if not connection.in_transaction():
        connection.begin()
    # Not `driver_connection`, which a connection taken out of its pool no longer has.
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
