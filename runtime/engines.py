"""Which PostgreSQL and NATS a command works on: those the environment names, those of a running `roundtrip
up`, or embedded ones for as long as the command runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from adapters.database import open_database
from adapters.keys.management import KeyManagement
from runtime.embedded.errors import HeldError
from runtime.embedded.nats import EmbeddedNats, start_nats
from runtime.embedded.postgres import EmbeddedPostgres, start_postgres
from runtime.embedded.private_file import replace
from runtime.errors import SettingsError
from runtime.master_key import MISSING
from runtime.settings import Settings

_FILE = "engines.json"


class Engines(NamedTuple):
    """Where the servers are, those of them that this process has started, and the keys. The addresses hold
    secrets."""

    database_url: str
    nats_url: str
    started: tuple[EmbeddedPostgres | EmbeddedNats, ...] = ()
    keys: KeyManagement | None = None

    def open(self, application: str, *, pool_size: int = 5, schema: str | None = None) -> Engine:
        """The database, opened with the keys (`adapters.database`). Raises `SettingsError` without a master key."""
        if self.keys is None:
            raise SettingsError(MISSING)
        return open_database(
            self.database_url, application=application, keys=self.keys, pool_size=pool_size, schema=schema
        )


@contextmanager
def open_engines(settings: Settings) -> Iterator[Engines]:
    """The engines to use; what is started here is stopped again at the end."""
    with ExitStack() as stack:
        started: list[EmbeddedPostgres | EmbeddedNats] = []
        database_url, nats_url = settings.database_url, settings.nats_url
        try:
            if database_url is None:
                postgres = stack.enter_context(start_postgres(settings.home))
                started.append(postgres)
                database_url = postgres.url
            if nats_url is None:
                nats = stack.enter_context(start_nats(settings.home))
                started.append(nats)
                nats_url = nats.url
        except HeldError:
            held = running(settings.home)
            if held is None:
                raise
            stack.close()
            # What the environment names goes before what runs here.
            database_url, nats_url = (
                settings.database_url or held.database_url,
                settings.nats_url or held.nats_url,
            )
            yield Engines(database_url, nats_url, keys=settings.keys)
            return
        engines = Engines(database_url, nats_url, tuple(started), settings.keys)
        file = settings.home / _FILE
        if started:
            replace(file, json.dumps(engines[:2]))
        try:
            yield engines
        finally:
            if started:
                file.unlink(missing_ok=True)


def running(home: Path) -> Engines | None:
    """The engines that another process runs in this home, `None` where there is none."""
    try:
        database_url, nats_url = json.loads((home / _FILE).read_text())
    except FileNotFoundError:
        return None
    return Engines(database_url, nats_url)
