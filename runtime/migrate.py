"""Brings a database to this release's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

import migrations

#: Any number, always the same: two processes that migrate at once take turns.
_LOCK = 0x526F756E64


def migrate(url: str, revision: str = "head") -> None:
    """Applies every migration up to `revision`. Safe to call at every start and from several processes."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(url)
    try:
        with engine.connect() as guard:
            guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            guard.commit()
            try:
                with engine.connect() as connection:
                    config.attributes["connection"] = connection
                    command.upgrade(config, revision)
            finally:
                guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                guard.commit()
    finally:
        engine.dispose()
