"""What a simulator remembers: one SQLite file, in which what was answered for outlives a kill -9."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TABLES: Final = """
    create table if not exists counters (name text primary key, n integer not null) without rowid;
    create table if not exists settings (name text primary key, value text not null) without rowid;
"""
#: Seconds to wait for an earlier process on the same file to be gone.
_PATIENCE: Final = 1.0


class StateError(Exception):
    """The state file cannot be used; the message says which, why, and what to do."""


class State:
    """One open state file. Its methods may be called from any thread."""

    def __init__(self, path: Path, tables: str) -> None:
        """Raises `StateError` when another simulator has the file, or it is no SQLite file."""
        self._lock = threading.Lock()
        try:
            # Whom webhooks are signed for is kept in it, so it is nobody else's to read.
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._db.execute("pragma locking_mode = exclusive")
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = full")
            self._db.executescript(f"begin; {_TABLES} {tables} commit;")
        except (OSError, sqlite3.Error) as error:
            raise StateError(
                f"state file {path} cannot be used: {error}; end the simulator that has it, or name another "
                "--state"
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is done within is on the disk when this ends, or none of it."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._db

    def close(self) -> None:
        with self._lock:
            self._db.close()


def count(db: sqlite3.Connection, name: str, by: int = 1) -> None:
    if by:
        db.execute(
            "insert into counters values (?, ?) on conflict (name) do update set n = n + excluded.n",
            (name, by),
        )


def counters(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("select name, n from counters").fetchall())


def below(counted: dict[str, int], prefix: str) -> dict[str, int]:
    """The counters whose name begins with `prefix`, without it."""
    return {name.removeprefix(prefix): n for name, n in sorted(counted.items()) if name.startswith(prefix)}


def put(db: sqlite3.Connection, name: str, value: str) -> None:
    db.execute("insert or replace into settings values (?, ?)", (name, value))


def get(db: sqlite3.Connection, name: str) -> str | None:
    row = db.execute("select value from settings where name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])
