"""The master key of all tests (`tests/conftest.py` puts it into the environment), and reading what is sealed by it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, make_url

from adapters.database import open_database
from adapters.keys.local import LocalKeys
from adapters.log.read import iterate

_MASTER: Final = bytes(range(32))
MASTER_KEY: Final = base64.b64encode(_MASTER).decode()
KEYS: Final = LocalKeys([_MASTER])


@contextmanager
def opened(database: str) -> Iterator[Connection]:
    """A connection that opens what is sealed. The URL may be SQLAlchemy's or libpq's."""
    url = make_url(database).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    engine = open_database(url, application="test", keys=KEYS, pool_size=1)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def said(database: str, *topics: str) -> list[dict[str, Any]]:
    """What the rows whose topics begin with these say, in order; erased ones say nothing."""
    with opened(database) as connection:
        return [
            msgspec.json.decode(row.state)
            for row in iterate(connection)
            if row.topic.startswith(topics) and not row.erased
        ]
