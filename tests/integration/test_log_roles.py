"""The application's role adds to the log and cannot change it; the owner migrates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment
from psycopg import sql
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from adapters.database import APPLICATION_ROLE, RoleError, open_database
from adapters.log.append import append
from adapters.log.persistence import LogFactory
from adapters.log.read import read_rows
from domain.records import Entry, derive_id
from runtime.migrate import MigrationError, migrate

CHANGES = (
    "UPDATE {}.log SET state = 'x'",
    "DELETE FROM {}.log",
    "TRUNCATE {}.log",
    "DELETE FROM {}.log_0",
    "TRUNCATE {}.log_0",
    "DROP TABLE {}.log_0",
    "ALTER TABLE {}.log DISABLE TRIGGER ALL",
    "ALTER TABLE {}.log DETACH PARTITION {}.log_0",
    "UPDATE {}.log_stream SET position = 9",
    "DELETE FROM {}.log_stream",
    "TRUNCATE {}.log_stream",
    "UPDATE {}.log_batch SET digest = 'x'",
    "DELETE FROM {}.log_batch",
    "TRUNCATE {}.log_batch",
    "DELETE FROM {}.log_head",
    "TRUNCATE {}.log_head",
    "UPDATE {}.log_head SET partition_rows = 1",
    (
        "INSERT INTO {}.log_archive (partition, first_position, last_position, digest, location)"
        " VALUES (0, 1, 9, 'x', 'x')"
    ),
    "SELECT public.log_release_partition(0, 'x', 'x', '{}.log')",
    "SET session_replication_role = replica",
)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, application="test")
    with engine.begin() as connection:
        append(connection, [entry("a")])
    yield engine
    engine.dispose()


@pytest.fixture
def orders(database: str) -> Iterator[Any]:
    factory = LogFactory(Environment("Orders", {"ROUNDTRIP_DATABASE_URL": database}))
    factory.application_recorder().insert_events([StoredEvent(uuid4(), 1, "topic", b"state")])
    yield factory
    factory.close()


@pytest.fixture
def logins(postgres_url: str) -> Iterator[tuple[str, str]]:
    """The URLs of a fresh, empty database: of its owner, who is no superuser, and of another login."""
    name = uuid4().hex[:12]
    owner, other = f"owner_{name}", f"other_{name}"
    with psycopg.connect(
        make_url(postgres_url).set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as server:

        def run(statement: str, *names: str) -> None:
            server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

        run("CREATE ROLE {} LOGIN", owner)
        run("CREATE ROLE {} LOGIN", other)
        run("CREATE DATABASE {} OWNER {}", name, owner)
        urls = [make_url(postgres_url).set(database=name, username=user) for user in (owner, other)]
        yield urls[0].render_as_string(False), urls[1].render_as_string(False)
        run("DROP DATABASE {} WITH (FORCE)", name)
        run("REVOKE {} FROM {}", APPLICATION_ROLE, owner)
        run("DROP ROLE {}", owner)
        run("DROP ROLE {}", other)


def administer(postgres_url: str, statement: str, *names: str) -> None:
    with psycopg.connect(
        make_url(postgres_url).set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as server:
        server.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def user_of(url: str) -> str:
    return make_url(url).username or ""


def entry(name: str) -> Entry:
    return Entry(derive_id("test", name), 1, f"track.{name}", None, name.encode())


@pytest.mark.parametrize("statement", CHANGES)
def test_the_application_cannot_change_the_log(engine: Engine, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"denied|must be owner"), engine.begin() as connection:
        connection.execute(text(statement.replace("{}", "public")))


@pytest.mark.parametrize("statement", [*CHANGES, "DROP SCHEMA {} CASCADE"])
def test_an_application_cannot_change_its_own_log_either(orders: Any, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"denied|must be owner"), orders.engine.begin() as connection:
        connection.execute(text(statement.replace("{}", "app_orders")))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log_stream SET position = 9",
        "DELETE FROM log_batch",
        "TRUNCATE log_stream",
        "DELETE FROM log_head",
        "UPDATE log_head SET position = 0",
    ],
)
def test_the_owner_is_refused_a_change_too(engine: Engine, database: str, statement: str) -> None:
    owner = create_engine(database)
    with pytest.raises(IntegrityError, match="the log is append-only"), owner.begin() as connection:
        connection.execute(text(statement))
    owner.dispose()


def test_the_head_never_goes_back(engine: Engine) -> None:
    with pytest.raises(IntegrityError, match="the log is append-only"), engine.begin() as connection:
        connection.execute(text("UPDATE log_head SET position = position - 1"))


def test_partitions_are_added_to_logs_only(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA mine"))
        connection.execute(text("CREATE TABLE mine.log (position bigint) PARTITION BY RANGE (position)"))
    for parent in ("mine.log", "public.log_batch"):
        with pytest.raises(ProgrammingError, match="is not a log of Roundtrip"), engine.begin() as connection:
            connection.execute(text("SELECT log_add_partition(7, CAST(:it AS regclass))"), {"it": parent})


def test_an_application_log_is_made_in_a_schema_of_its_owner_only(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA app_trap"))
    for home, why in (("app_trap", "belongs to another role"), ("pg_temp", "begins with app_")):
        with pytest.raises(ProgrammingError, match=why), engine.begin() as connection:
            connection.execute(text("SELECT log_create(:home)"), {"home": home})


def test_the_projections_are_the_applications(engine: Engine) -> None:
    with engine.connect() as connection:
        owners = connection.execute(
            text("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'")
        )
        theirs = {table for table, owner in owners if owner == APPLICATION_ROLE}
    assert {"checkpoint", "definition", "identity", "profile", "membership", "outbound"} <= theirs
    assert not {table for table in theirs if table.startswith("log")}


def test_an_ordinary_owner_migrates_and_an_ordinary_login_works_as_the_application(
    postgres_url: str, logins: tuple[str, str]
) -> None:
    owner, other = logins
    administer(postgres_url, "GRANT {} TO {}", APPLICATION_ROLE, user_of(owner))
    migrate(owner)
    administer(postgres_url, "GRANT {} TO {}", APPLICATION_ROLE, user_of(other))
    migrate(other)
    engine = open_database(other, application="test")
    with engine.begin() as connection:
        assert append(connection, [entry("a")]).last_position == 1
        assert [row.position for row in read_rows(connection, 0, 9)] == [1]
        connection.execute(text("CREATE SCHEMA beside"))
    engine.dispose()
    factory = LogFactory(Environment("Orders", {"ROUNDTRIP_DATABASE_URL": other}))
    assert factory.application_recorder().insert_events([StoredEvent(uuid4(), 1, "t", b"")]) == [1]
    factory.close()


def test_an_owner_who_may_not_take_the_role_on_is_told_what_to_run(logins: tuple[str, str]) -> None:
    with pytest.raises(ProgrammingError, match="can neither make the role roundtrip_app nor take it on"):
        migrate(logins[0])


def test_a_login_that_is_not_the_owner_is_told_to_name_the_owner(
    postgres_url: str, logins: tuple[str, str]
) -> None:
    owner, other = logins
    administer(postgres_url, "GRANT {} TO {}", APPLICATION_ROLE, user_of(owner))
    migrate(owner, "0004")
    rewind = create_engine(owner)
    with rewind.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    rewind.dispose()
    administer(postgres_url, "GRANT {} TO {}", APPLICATION_ROLE, user_of(other))
    with pytest.raises(MigrationError, match="ROUNDTRIP_DATABASE_OWNER_URL"):
        migrate(other)


def test_a_login_that_may_not_be_the_application_is_told_what_to_grant(logins: tuple[str, str]) -> None:
    engine = open_database(logins[1], application="test")
    with pytest.raises(ProgrammingError, match=f"GRANT {APPLICATION_ROLE} TO") as caught:
        engine.connect()
    assert isinstance(caught.value.orig, RoleError)
    engine.dispose()
