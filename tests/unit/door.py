"""The log's door in memory: records led as they are by it, each in its turn."""

from __future__ import annotations

from domain.identity_rules import Rules, entry_for
from domain.records import Entry, Record
from domain.shared_devices import LastUser, learned, presumed


class Door:
    """Leads a record after the other by these rules, and remembers who was last known on which device."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._last: dict[str, LastUser] = {}
        self._position = 0

    def __call__(self, record: Record) -> Entry:
        self._position += 1
        if self._rules.most_recent_user:
            record = presumed(record, self._last, self._rules)
            self._last |= learned(record, self._position, record.occurred_at, self._last, self._rules)
        return entry_for(record, self._rules)
