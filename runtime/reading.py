"""The log's next rows are read while the former are folded and written: the database is at work then too."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import Connection, Engine

from adapters.log.read import read_sources
from domain.records import Row

#: After which position, how many rows at most, and up to which position (`read_sources`).
Asked = tuple[int, int, int | None]
Read = tuple[list[Row], int]


class Reading:
    """Reads what is asked for, or has it read already. Rows never change, so that it does not matter when they were
    read; but those of who is erased can be read no more: what was read before an erasure has to be dropped."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread: ThreadPoolExecutor | None = None
        self._next: tuple[Asked, Future[Read]] | None = None

    def rows(self, connection: Connection, asked: Asked) -> Read:
        """As `read_sources`."""
        ahead, self._next = self._next, None
        if ahead is not None and ahead[0] == asked:
            return ahead[1].result()
        return read_sources(connection, *asked)

    def begin(self, asked: Asked) -> None:
        """Begins to read what will be asked for next, on a connection of its own."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "reading")
        self._next = asked, self._thread.submit(self._read, asked)

    def drop(self) -> None:
        """Forgets what was read ahead."""
        self._next = None

    def _read(self, asked: Asked) -> Read:
        with self._engine.connect() as connection:
            return read_sources(connection, *asked)
