"""What the push tool has taken in, sent, and still has to tell. Committed before it is answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import orjson

from simulators.push_tool.events import Behaviour, Event
from simulators.push_tool.notification import Notification
from simulators.push_tool.sending import TABLES, answer_of, answered, clock_of, known_of, now_of, send
from simulators.state import State, below, count, counters, get, put
from simulators.times import write_time

_COUNTED: Final = (
    "requests",
    "replayed_requests",
    "notifications",
    "messages_sent",
    "duplicate_messages",
    "unknown_users",
)


class Webhook(NamedTuple):
    url: str
    secret: str


class Store:
    def __init__(self, path: Path) -> None:
        """Raises `StateError` when the file cannot be used."""
        self._state = State(path, TABLES)

    def close(self) -> None:
        self._state.close()

    def load(self, behaviours: Iterable[Behaviour]) -> None:
        """Later loads win, for messages sent from then on."""
        with self._state.transaction() as db:
            db.executemany(
                "insert into users (external_id, outcome, opens_after_s, unsubscribes) values (?, ?, ?, ?) "
                "on conflict (external_id) do update set outcome = excluded.outcome, "
                "opens_after_s = excluded.opens_after_s, unsubscribes = excluded.unsubscribes",
                behaviours,
            )

    def set_clock(self, to: int) -> int:
        """The clock after it was set: it never goes back, so an earlier time leaves it as it is."""
        with self._state.transaction() as db:
            before = clock_of(db)
            now = to if before is None else max(to, before)
            put(db, "clock", str(now))
            return now

    def clock(self) -> int | None:
        """The simulated time; `None` while nobody has set it, and the wall's holds."""
        with self._state.reading() as db:
            return clock_of(db)

    def set_webhook(self, webhook: Webhook) -> None:
        with self._state.transaction() as db:
            put(db, "webhook", orjson.dumps(list(webhook)).decode())

    def webhook(self) -> Webhook | None:
        with self._state.reading() as db:
            found = get(db, "webhook")
        return Webhook(*orjson.loads(found)) if found else None

    def refuse(self, reason: str) -> None:
        """Count a request that had no effect."""
        with self._state.transaction() as db:
            count(db, "requests")
            count(db, f"rejected.{reason}")

    def accept(self, notification: Notification, received_wall: float) -> bytes:
        """Send the notification to whom is known, and return the answer; for a key that was here before,
        only the answer that it got then."""
        with self._state.transaction() as db:
            count(db, "requests")
            before = answered(db, notification.key)
            if before is not None:
                count(db, "replayed_requests")
                return before
            known = known_of(db, notification.external_ids)
            notification_id = str(uuid4())
            answer = answer_of(notification_id, notification, known)
            send(db, notification_id, notification, answer, received_wall, list(known.values()))
            count(db, "unknown_users", len(notification.external_ids) - len(known))
            return answer

    def due(self, limit: int) -> list[Event]:
        """The next events to tell: in order of their time, and for one person in the order they happened."""
        with self._state.reading() as db:
            rows = db.execute(
                "select seq, kind, at, external_id, o.notification_id, data, name, template_id "
                "from outbox o join notifications n on n.id = o.notification_id "
                "where due_at <= ? order by due_at, seq limit ?",
                (now_of(db), limit),
            ).fetchall()
        return [
            Event(seq, kind, at, external_id, notification_id, orjson.loads(data), name, template_id)
            for seq, kind, at, external_id, notification_id, data, name, template_id in rows
        ]

    def told(self, events: Sequence[Event]) -> None:
        """The receiver has taken these events; they are never told again."""
        with self._state.transaction() as db:
            db.executemany("delete from outbox where seq = ?", [(event.seq,) for event in events])
            for kind, n in Counter(event.kind for event in events).items():
                count(db, f"event.{kind}", n)

    def not_told(self) -> None:
        """An attempt at the webhook was not answered with success."""
        with self._state.transaction() as db:
            count(db, "webhooks_failed")

    def status(self) -> dict[str, Any]:
        with self._state.reading() as db:
            counted = counters(db)
            clock = clock_of(db)
            due = "select count(*) from outbox where due_at <= ?"
            pending = db.execute(due, (now_of(db),)).fetchone()[0]
            left = db.execute("select count(*) from outbox").fetchone()[0]
        kinds = below(counted, "event.")
        return {
            "clock": None if clock is None else write_time(clock),
            **{name: counted.get(name, 0) for name in _COUNTED},
            "rejected": below(counted, "rejected."),
            "webhooks": {
                "pending": pending,
                "scheduled": left - pending,
                "sent": sum(kinds.values()),
                "failed": counted.get("webhooks_failed", 0),
            },
            "events": kinds,
        }

    def messages(self) -> dict[str, dict[str, Any]]:
        """Per person: how many messages, and of the first one which notification, when and with what."""
        found: dict[str, dict[str, Any]] = {}
        with self._state.reading() as db:
            rows = db.execute(
                "select external_id, id, sent_at, received_wall, data "
                "from messages m join notifications n on n.id = m.notification_id order by seq"
            ).fetchall()
        for external_id, notification_id, sent_at, received_wall, data in rows:
            if external_id in found:
                found[external_id]["count"] += 1
                continue
            found[external_id] = {
                "notification_id": notification_id,
                "count": 1,
                "sent_at": write_time(sent_at),
                "received_wall": received_wall,
                "data": orjson.loads(data),
            }
        return found
