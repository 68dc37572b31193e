"""The stream's events, each at its offset, in a file that outlives the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from simulators.state import State

#: Airship's offsets are text; a client must not take them for numbers, so ours have leading zeros.
_WIDTH: Final = 16
_TABLES: Final = "create table if not exists events (n integer primary key, body blob not null);"


class Store:
    """Appends and reads events in order."""

    def __init__(self, path: Path) -> None:
        self._state = State(path, _TABLES)

    def add(self, events: Sequence[dict[str, Any]]) -> int:
        """Puts events at the end of the stream; how many there are now. An event may come a second time, with
        the same id: it gets an offset of its own, as Airship's duplicates do."""
        with self._state.transaction() as db:
            for event in events:
                cursor = db.execute("insert into events (body) values (?)", (b"",))
                offset = f"{cursor.lastrowid:0{_WIDTH}d}"
                body = orjson.dumps(event | {"offset": offset})
                db.execute("update events set body = ? where n = ?", (body, cursor.lastrowid))
            [total] = db.execute("select count(*) from events").fetchone()
        return int(total)

    def after(self, number: int, limit: int) -> list[tuple[int, bytes]]:
        """The events that follow, each with its number."""
        with self._state.reading() as db:
            rows = db.execute(
                "select n, body from events where n > ? order by n limit ?", (number, limit)
            ).fetchall()
        return [(int(n), bytes(body)) for n, body in rows]

    def last(self) -> int:
        with self._state.reading() as db:
            [last] = db.execute("select coalesce(max(n), 0) from events").fetchone()
        return int(last)
