"""Contacts whose changes are told: each with its number, the CRM's own time, and who made it.

Source: developers.hubspot.com/docs/api/webhooks (payload, `changeSource`, `sourceId`).
"""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from simulators.vendors.held import Held

VENDOR: Final = "hubspot"
_PORTAL: Final = 62515


class Maker(NamedTuple):
    """Who changes contacts: an app, or a person."""

    source: str
    id: str


class Contacts(Held):
    """What the CRM holds, within one transaction. A contact that is put there again tells what has changed of it."""

    def __init__(self, db: sqlite3.Connection, maker: Maker) -> None:
        super().__init__(db, VENDOR)
        self._maker = maker

    def put(self, collection: str, key: str, value: Any) -> bool:
        was = self.get(collection, key) or {} if collection == "contacts" else {}
        new = super().put(collection, key, value)
        if collection == "contacts":
            if new:
                self.count("contacts")
                super().put("ids", key, self.counted("contacts"))
                self._tell(key, "contact.creation")
            for name, said in value.items():
                if was.get(name, "") != said:
                    told = {"propertyName": name, "propertyValue": said}
                    self._tell(key, "contact.propertyChange", **told)
        return new

    def change(self, email: str, name: str, value: str) -> None:
        """One property of one contact. Raises `ValueError` where there is no such contact."""
        was = self.get("contacts", email)
        if was is None:
            raise ValueError(f"no contact '{email}'")
        self.put("contacts", email, {**was, name: value})

    def _tell(self, key: str, kind: str, **said: str) -> None:
        at = max(int(time.time() * 1000), (self.get("clock", "now") or 0) + 1)
        super().put("clock", "now", at)
        super().put("modified", key, at)
        self.count("events")
        number = self.counted("events")
        event = {
            "eventId": number,
            "subscriptionId": 1,
            "portalId": _PORTAL,
            "occurredAt": at,
            "subscriptionType": kind,
            "attemptNumber": 0,
            "objectId": self.get("ids", key),
            "changeSource": self._maker.source,
            "sourceId": self._maker.id,
            **said,
        }
        super().put("events", str(number), event)

    def export(self, file: Path) -> int:
        """Writes all contacts into a table of a SQLite file, with the time of their last change; how many."""
        contacts, ids, modified = self.all("contacts"), self.all("ids"), self.all("modified")
        names = sorted({name for one in contacts.values() for name in one})
        columns = ", ".join(f'"{name}"' for name in names)
        with sqlite3.connect(file) as db:
            db.execute("drop table if exists contacts")
            db.execute(f"create table contacts (id, lastmodifieddate, {columns})")
            places = ", ".join("?" * (len(names) + 2))
            for key, one in contacts.items():
                at = datetime.fromtimestamp(modified[key] / 1000, UTC).isoformat(timespec="milliseconds")
                row = [ids[key], at, *(one.get(name) for name in names)]
                db.execute(f"insert into contacts values ({places})", row)  # noqa: S608
        db.close()
        return len(contacts)
