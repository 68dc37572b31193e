"""Databases to measure in."""

from __future__ import annotations

import psycopg
from sqlalchemy import make_url

from runtime.migrate import migrate


def fresh_database(server: str, name: str) -> str:
    """The URL of a database of this name with today's schema and nothing in it."""
    plain = make_url(server).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as one:
        one.execute(f'CREATE DATABASE "{name}"')
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    migrate(url)
    return url
