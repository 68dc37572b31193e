"""The second look at consent, right before a person's data leaves: it may have been withdrawn meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from domain.outbound import Outbound

#: The changes by which a destination learns something of a person.
_TELLS: Final = frozenset({"add", "event", "update"})
#: A look at consent holds for so many seconds: what waits longer for its turn is looked at again.
FRESH_S: Final = 1.0

#: Of these profiles, those that consent to the purpose now; to none (`""`), those that have not been erased. Raises
#: `ConsentUnknownError` when it cannot tell.
Consented = Callable[[str, Sequence[str]], Awaitable[set[str]]]


def taken_back(update: Outbound) -> Outbound:
    """The removal of what was told before an update of somebody of whom nothing may be told any more."""
    fields = {**update.fields, **update.before}
    told = {name: value for name, value in fields.items() if value is not None}
    return msgspec.structs.replace(update, change="remove", fields=told, before={})


async def without_consent(consented: Consented, records: Sequence[Outbound]) -> set[str]:
    """The ids of the records that must not be sent: nobody consents any more who was erased. Taking somebody out of a
    destination needs no consent: it is what a withdrawal leads to."""
    by_purpose: dict[str, list[Outbound]] = {}
    for record in records:
        if record.change in _TELLS:
            by_purpose.setdefault(record.purpose, []).append(record)
    refused: set[str] = set()
    for purpose, several in by_purpose.items():
        given = await consented(purpose, [record.profile for record in several])
        refused.update(record.id for record in several if record.profile not in given)
    return refused


class Looked:
    """What the newest look said of each record of a batch. `now` are a loop's seconds."""

    def __init__(self, consented: Consented) -> None:
        self._consented = consented
        self._at: dict[str, float] = {}
        self._refused: set[str] = set()

    async def look(self, records: Sequence[Outbound], now: float) -> set[str]:
        """The ids of those that must not be sent."""
        refused = await without_consent(self._consented, records)
        ids = {record.id for record in records}
        self._refused = (self._refused - ids) | refused
        self._at.update(dict.fromkeys(ids, now))
        return refused

    def stale(self, records: Sequence[Outbound], now: float) -> bool:
        """Whether the look at one of these was too long ago to send it."""
        return any(now - self._at[record.id] > FRESH_S for record in records if record.change in _TELLS)

    def refused(self, records: Sequence[Outbound]) -> bool:
        """Whether one of these must not be sent."""
        return any(record.id in self._refused for record in records if record.change in _TELLS)
