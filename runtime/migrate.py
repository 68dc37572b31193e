"""Brings a database to this release's schema, as the owner of its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

import migrations
from domain.mendable import Mendable

#: Any number, always the same: two processes that migrate at once take turns.
_LOCK: Final = 0x526F756E64


class MigrationError(Mendable):
    """The database cannot be migrated by whoever has logged in."""


def migrate(url: str, revision: str = "head") -> None:
    """Applies every migration up to `revision`. Safe to call at every start and from several processes.

    What a migration has made, but for the logs, is then the application's. Raises `MigrationError` where
    there is something to do and the login does not own the tables.
    """
    config = _config()
    newest = ScriptDirectory.from_config(config).get_current_head()
    engine = create_engine(url)
    try:
        with engine.connect() as guard:
            guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            guard.commit()
            try:
                with engine.begin() as connection:
                    found = MigrationContext.configure(connection).get_current_revision()
                    if not _owns_log(connection):
                        if found == newest:
                            return
                        raise MigrationError(
                            f"user '{engine.url.username}' does not own the log's tables, which are at revision"
                            f" {found} and have to come to {newest}; run `roundtrip migrate` with"
                            " ROUNDTRIP_DATABASE_OWNER_URL, the owner's"
                        )
                with engine.connect() as connection:
                    config.attributes["connection"] = connection
                    command.upgrade(config, revision)
                with engine.begin() as connection:
                    if connection.execute(text("SELECT to_regproc('public.log_hand_over')")).scalar():
                        connection.execute(text("SELECT public.log_hand_over()"))
            finally:
                guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                guard.commit()
    finally:
        engine.dispose()


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """The revision that the database is at, and this release's."""
    found = MigrationContext.configure(connection).get_current_revision()
    return found, ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def _owns_log(connection: Connection) -> bool:
    """Also where there is no log yet."""
    owns = text(
        "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('log')"
    )
    return connection.execute(owns).scalar() is not False
