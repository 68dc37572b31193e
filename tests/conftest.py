"""The servers every test may use: one PostgreSQL and one NATS a run, and a fresh database a test."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import distribution
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from adapters.database import APPLICATION_ROLE
from runtime.embedded.nats import start_nats
from runtime.embedded.postgres import start_postgres
from tests.keys import MASTER_KEY
from tests.servers import REPOSITORY, room_in_memory, temporary_home

os.environ["ROUNDTRIP_MASTER_KEY"] = MASTER_KEY


def pytest_configure(config: pytest.Config) -> None:
    """Feeds and connectors are found by entry points, which an editable install only learns when it is made:
    after pyproject.toml has named another one it is made again."""
    if hasattr(config, "workerinput"):
        return
    _keep_temporary_files_in_memory(config)
    _compile_once(config)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {(group, *one) for group, ones in project["entry-points"].items() for one in ones.items()}
    known = {(one.group, one.name, one.value) for one in distribution("roundtrip").entry_points}
    if not named <= known:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "-e", str(REPOSITORY)]
        subprocess.run(command, check=True)


def _keep_temporary_files_in_memory(config: pytest.Config) -> None:
    """Those of this run, its workers and what they start, until it ends; someone who names a place has it there."""
    place = None if "TMPDIR" in os.environ else room_in_memory()
    if place is not None:
        held = ExitStack()
        home = held.enter_context(temporary_home(place=place))
        # Some tests start servers as another user.
        home.chmod(0o1777)
        os.environ["TMPDIR"] = tempfile.tempdir = str(home)
        config.add_cleanup(held.close)


def _compile_once(config: pytest.Config) -> None:
    """Where Python is told to keep no bytecode, every process that a test starts would compile all it imports, which
    takes two seconds each. For this run they keep it aside, until it ends."""
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        aside = tempfile.TemporaryDirectory(prefix="roundtrip-bytecode-", ignore_cleanup_errors=True)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = aside.name
        config.add_cleanup(aside.cleanup)


_TEMPLATE = "roundtrip_template"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a server that runs as long as this run of pytest; its database is empty."""
    with temporary_home() as home, start_postgres(home) as server:
        _execute(server.url, "alter system set fsync = off")
        _execute(server.url, "select pg_reload_conf()")
        yield server.url


@pytest.fixture(scope="session")
def nats_url() -> Iterator[str]:
    """The URL of a NATS server with JetStream that runs as long as this run of pytest; all tests share it."""
    with temporary_home() as home, start_nats(home) as server:
        yield server.url


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str) -> str:
    """The name of a database with today's schema and no rows, to copy."""
    from runtime.migrate import migrate

    _execute(postgres_url, "create database {}", _TEMPLATE)
    migrate(_url(postgres_url, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database(postgres_url: str, migrated_template: str) -> Iterator[str]:
    """The SQLAlchemy URL of a fresh, migrated database, dropped after the test."""
    name = f"test_{uuid4().hex[:12]}"
    _execute(postgres_url, "create database {} template {}", name, migrated_template)
    # What is granted on a database is not copied with it.
    _execute(postgres_url, "grant create on database {} to {}", name, APPLICATION_ROLE)
    yield _url(postgres_url, name)
    _execute(postgres_url, "drop database {} with (force)", name)


def _url(server: str, database: str) -> str:
    return make_url(server).set(database=database).render_as_string(hide_password=False)


def _execute(server: str, statement: str, *names: str) -> None:
    target = make_url(server).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
