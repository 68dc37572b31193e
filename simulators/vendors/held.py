"""What a vendor remembers: things by collection and key, in the order in which they were first said, and counts."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import orjson

from simulators.state import below, count, counters

TABLES: Final = """
    create table if not exists held (
        id integer primary key, vendor text not null, collection text not null, key text not null,
        value blob not null, unique (vendor, collection, key)
    );
"""


class Held:
    """One vendor's part, within one transaction."""

    def __init__(self, db: sqlite3.Connection, vendor: str) -> None:
        self._db = db
        self._vendor = vendor

    def get(self, collection: str, key: str) -> Any:
        """`None` where it is not there."""
        row = self._db.execute(
            "select value from held where vendor = ? and collection = ? and key = ?",
            (self._vendor, collection, key),
        ).fetchone()
        return None if row is None else orjson.loads(row[0])

    def put(self, collection: str, key: str, value: Any) -> bool:
        """Whether it was not there before."""
        new = self.get(collection, key) is None
        self._db.execute(
            "insert into held (vendor, collection, key, value) values (?, ?, ?, ?) "
            "on conflict (vendor, collection, key) do update set value = excluded.value",
            (self._vendor, collection, key, orjson.dumps(value)),
        )
        return new

    def drop(self, collection: str, key: str) -> bool:
        """Whether it was there."""
        done = self._db.execute(
            "delete from held where vendor = ? and collection = ? and key = ?",
            (self._vendor, collection, key),
        )
        return done.rowcount > 0

    def all(self, collection: str) -> dict[str, Any]:
        rows = self._db.execute(
            "select key, value from held where vendor = ? and collection = ? order by id",
            (self._vendor, collection),
        )
        return {key: orjson.loads(value) for key, value in rows}

    def append(self, collection: str, value: Any) -> None:
        """Keep one more of what has no key of its own."""
        self.count(f"held.{collection}")
        self.put(collection, str(self.counted(f"held.{collection}")), value)

    def count(self, name: str, by: int = 1) -> None:
        count(self._db, f"{self._vendor}.{name}", by)

    def counted(self, name: str) -> int:
        return counters(self._db).get(f"{self._vendor}.{name}", 0)

    def status(self) -> dict[str, Any]:
        mine = below(counters(self._db), f"{self._vendor}.")
        plain = {name: n for name, n in mine.items() if "." not in name}
        return {"requests": 0, **plain, "rejected": below(mine, "rejected.")}
