"""How this process reaches PostgreSQL: one engine, bounded waits, durable commits."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, create_engine

#: A lock or statement that waits longer than this is given up: the caller answers "try again".
LOCK_TIMEOUT_MS: Final = 10_000
#: A transaction that does nothing for so long is ended: its locks would stop everybody else.
IDLE_TIMEOUT_MS: Final = 120_000


def open_database(url: str, *, application: str, pool_size: int = 5, schema: str | None = None) -> Engine:
    """An engine whose connections name `application` and commit durably.

    With `schema`, names are looked up there first: a rebuild keeps its tables beside the live ones.
    """
    options = f"-c synchronous_commit=on -c lock_timeout={LOCK_TIMEOUT_MS}"
    options += f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}"
    if schema is not None:
        options += f" -c search_path={schema},public"
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"application_name": f"roundtrip {application}", "options": options},
    )
