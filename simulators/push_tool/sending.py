"""How one notification is sent, within a transaction: to whom, which answer it gets, and what follows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Container, Sequence
from typing import Any, Final

import orjson

from simulators.push_tool.events import Behaviour, happenings
from simulators.push_tool.notification import Notification
from simulators.state import count, get

TABLES: Final = """
    create table if not exists users (
        external_id text primary key, outcome text not null, opens_after_s integer,
        unsubscribes integer not null, messages integer not null default 0
    ) without rowid;
    create table if not exists notifications (
        id text primary key, key text unique, answer blob not null, sent_at integer not null,
        received_wall real not null, data blob not null, name text, template_id text
    ) without rowid;
    create table if not exists messages (
        seq integer primary key, external_id text not null, notification_id text not null
    );
    create table if not exists outbox (
        seq integer primary key autoincrement, due_at integer not null, kind text not null,
        at integer not null, external_id text not null, notification_id text not null
    );
    create index if not exists outbox_due on outbox (due_at, seq);
"""

#: Who gets a message, and how many they have had before.
Recipient = tuple[Behaviour, int]

#: Ids in one statement: below the least number of parameters that SQLite is built for.
_CHUNK: Final = 900


def clock_of(db: sqlite3.Connection) -> int | None:
    """The simulated time; `None` while it was never set."""
    found = get(db, "clock")
    return None if found is None else int(found)


def now_of(db: sqlite3.Connection) -> int:
    """The simulated time, and the wall's while that was never set."""
    clock = clock_of(db)
    return time.time_ns() // 1_000 if clock is None else clock


def answered(db: sqlite3.Connection, key: str | None) -> bytes | None:
    """The answer that an idempotency key got before."""
    row = db.execute("select answer from notifications where key = ?", (key,)).fetchone()
    return None if row is None else bytes(row[0])


def known_of(db: sqlite3.Connection, external_ids: Sequence[str]) -> dict[str, Recipient]:
    """Who of these the push tool knows, in the order asked for."""
    rows: dict[str, Recipient] = {}
    for start in range(0, len(external_ids), _CHUNK):
        chunk = external_ids[start : start + _CHUNK]
        marks = ",".join("?" * len(chunk))
        query = (
            "select external_id, outcome, opens_after_s, unsubscribes, messages "  # noqa: S608
            f"from users where external_id in ({marks})"
        )
        rows.update({row[0]: (Behaviour(*row[:4]), row[4]) for row in db.execute(query, chunk)})
    return {one: rows[one] for one in external_ids if one in rows}


def answer_of(notification_id: str, notification: Notification, known: Container[str]) -> bytes:
    """The body of the 200, which names whom the push tool does not know."""
    answer: dict[str, Any] = {"id": notification_id, "external_id": notification.key}
    if unknown := [one for one in notification.external_ids if one not in known]:
        answer["errors"] = {"invalid_aliases": {"external_id": unknown}}
    return orjson.dumps(answer)


def send(
    db: sqlite3.Connection,
    notification_id: str,
    notification: Notification,
    answer: bytes,
    received_wall: float,
    recipients: Sequence[Recipient],
) -> None:
    """One message to each, now, and the events that follow from it into the outbox."""
    sent_at = now_of(db)
    data = orjson.dumps(notification.data)
    db.execute(
        "insert into notifications values (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            notification_id,
            notification.key,
            answer,
            sent_at,
            received_wall,
            data,
            notification.name,
            notification.template_id,
        ),
    )
    ids = [behaviour.external_id for behaviour, _ in recipients]
    db.executemany(
        "insert into messages (external_id, notification_id) values (?, ?)",
        [(i, notification_id) for i in ids],
    )
    db.executemany("update users set messages = messages + 1 where external_id = ?", [(i,) for i in ids])
    db.executemany(
        "insert into outbox (due_at, kind, at, external_id, notification_id) values (?, ?, ?, ?, ?)",
        [
            (coming.due_at, coming.kind, coming.at, behaviour.external_id, notification_id)
            for behaviour, _ in recipients
            for coming in happenings(behaviour, sent_at)
        ],
    )
    count(db, "notifications")
    count(db, "messages_sent", len(recipients))
    # Counts people, not messages: who gets a third one has been counted with the second.
    count(db, "duplicate_messages", sum(1 for _, before in recipients if before == 1))
