"""A history that an earlier release has written: its schema is migrated, its log verifies, its projections are built
anew to say the same, and what comes now is taken in.

`histories/` holds what `pg_dump --inserts` gave of a database in which that release's own `roundtrip demo --users 12`
had run, under the master key of the tests; a file is named for its schema's revision.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from adapters.database import open_database
from adapters.log.append import append
from domain.records import Identifier, Record, entry_of
from runtime.definitions import open_definitions
from runtime.migrate import migrate
from runtime.pipeline import Pipeline, drain
from tests.integration.importing import Command
from tests.keys import KEYS

HISTORIES = sorted(Path(__file__).with_name("histories").glob("*.sql.xz"))


@pytest.fixture(params=HISTORIES, ids=lambda file: file.name.partition(".")[0])
def old(request: pytest.FixtureRequest, postgres_url: str, migrated_template: str) -> Iterator[str]:
    """The URL of a database as an earlier release left it. The application's role is there, by the template."""
    name = f"upgrade_{request.param.name.partition('.')[0].replace('-', '_')}"
    server = make_url(postgres_url).set(drivername="postgresql")
    with psycopg.connect(server.render_as_string(False), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(server.set(database=name).render_as_string(False)) as fresh:
            fresh.execute(lzma.decompress(request.param.read_bytes()))
        yield make_url(postgres_url).set(database=name).render_as_string(False)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def told(database: str) -> list[list[tuple[str, ...]]]:
    """Who is in which audience, what was sent with what outcome, and who is whom: as the projections say."""
    queries = (
        "SELECT audience, profile::text FROM membership ORDER BY 1, 2",
        "SELECT id::text, connection, status FROM outbound ORDER BY 1",
        "SELECT node::text, profile::text FROM identity ORDER BY 1",
    )
    url = make_url(database).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(url) as connection:
        return [connection.execute(query).fetchall() for query in queries]


def test_a_history_of_an_earlier_release_is_migrated_rebuilt_and_goes_on(old: str, tmp_path: Path) -> None:
    before = told(old)
    assert all(before), "the history has nothing to compare"
    migrate(old)
    command = Command(old, "nats://127.0.0.1:4", tmp_path)
    for arguments in (("log", "verify"), ("rebuild",), ("rebuild", "--verify")):
        done = command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    assert told(old) == before

    newcomer = Record(
        feed="app",
        message_id="after the upgrade",
        type="track",
        name="App Installed",
        occurred_at=0,
        identifiers=(Identifier("user_id", "newcomer"),),
        body=msgspec.Raw(b"{}"),
        consent={"push": True},
    )
    engine = open_database(old, application="test", keys=KEYS)
    try:
        with open_definitions(old) as definitions:
            with engine.begin() as connection:
                append(connection, [entry_of(newcomer)])
            drain(Pipeline(engine, definitions), 2**62)
    finally:
        engine.dispose()
    assert len(told(old)[2]) == len(before[2]) + 1
    done = command("rebuild", "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
