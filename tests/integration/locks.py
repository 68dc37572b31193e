"""Whether somebody waits for a lock, for tests of what has to wait."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, text


def waits_for_a_lock(owner: Engine) -> Callable[[], bool]:
    statement = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock')"
    )

    def asked() -> bool:
        with owner.connect() as connection:
            return bool(connection.execute(statement).scalar())

    return asked
