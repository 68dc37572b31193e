"""Who is in which audience, and how that came to be. Committed before it is answered."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from simulators.ad_platform.upload import Row, Upload
from simulators.state import State, below, count, counters

Change = Literal["add", "remove"]

_TABLES: Final = """
    create table if not exists members (
        audience_id text not null, key text not null, value text not null, keys blob not null,
        member integer not null, adds integer not null, removes integer not null, received_wall real not null,
        primary key (audience_id, key, value)
    ) without rowid;
    create table if not exists batches (digest text primary key) without rowid;
"""


class Store:
    def __init__(self, path: Path) -> None:
        """Raises `StateError` when the file cannot be used."""
        self._state = State(path, _TABLES)

    def close(self) -> None:
        self._state.close()

    def refuse(self, reason: str) -> None:
        """Count a request that had no effect."""
        with self._state.transaction() as db:
            count(db, "requests")
            count(db, f"rejected.{reason}")

    def apply(self, audience_id: str, change: Change, upload: Upload, received_wall: float) -> None:
        """Add or remove these people. The same batch of a session again has no effect and is no duplicate;
        who is added twice otherwise, or removed without being there, is counted."""
        with self._state.transaction() as db:
            count(db, "requests")
            if _seen(db, audience_id, change, upload):
                count(db, "replayed_requests")
                return
            count(db, f"{change}s_received", upload.num_received)
            count(db, "invalid_entries", upload.num_invalid)
            for row in upload.rows:
                was = _is_member(db, audience_id, row)
                if change == "add":
                    count(db, "duplicate_adds", int(was))
                    _add(db, audience_id, row, received_wall)
                else:
                    count(db, "needless_removes", int(not was))
                    _remove(db, audience_id, row)

    def status(self) -> dict[str, Any]:
        names = "requests replayed_requests adds_received removes_received invalid_entries duplicate_adds"
        with self._state.reading() as db:
            counted = counters(db)
            members = db.execute(
                "select audience_id, sum(member) from members group by audience_id order by audience_id"
            ).fetchall()
        return {
            **{name: counted.get(name, 0) for name in [*names.split(), "needless_removes"]},
            "rejected": below(counted, "rejected."),
            "audiences": dict(members),
        }

    def audience(self, audience_id: str) -> list[dict[str, Any]]:
        """Everybody who ever was in the audience, with when they were added last."""
        with self._state.reading() as db:
            rows = db.execute(
                "select key, value, keys, member, adds, removes, received_wall from members "
                "where audience_id = ? order by key, value",
                (audience_id,),
            ).fetchall()
        return [
            {
                "key": key,
                "value": value,
                "keys": orjson.loads(keys),
                "member": bool(member),
                "adds": adds,
                "removes": removes,
                "received_wall": received_wall,
            }
            for key, value, keys, member, adds, removes, received_wall in rows
        ]


def _seen(db: sqlite3.Connection, audience_id: str, change: Change, upload: Upload) -> bool:
    if upload.batch is None:
        return False
    said = orjson.dumps([audience_id, change, upload.batch, [row.keys for row in upload.rows]])
    digest = hashlib.sha256(said).hexdigest()
    return db.execute("insert or ignore into batches values (?)", (digest,)).rowcount == 0


def _is_member(db: sqlite3.Connection, audience_id: str, row: Row) -> bool:
    found = db.execute(
        "select member from members where audience_id = ? and key = ? and value = ?",
        (audience_id, row.key, row.value),
    ).fetchone()
    return found is not None and bool(found[0])


def _add(db: sqlite3.Connection, audience_id: str, row: Row, received_wall: float) -> None:
    db.execute(
        "insert into members values (?, ?, ?, ?, 1, 1, 0, ?) on conflict (audience_id, key, value) do update "
        "set member = 1, adds = adds + 1, keys = excluded.keys, received_wall = excluded.received_wall",
        (audience_id, row.key, row.value, orjson.dumps(row.keys), received_wall),
    )


def _remove(db: sqlite3.Connection, audience_id: str, row: Row) -> None:
    db.execute(
        "update members set member = 0, removes = removes + 1 where audience_id = ? and key = ? and value = ?",
        (audience_id, row.key, row.value),
    )
