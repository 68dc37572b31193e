"""The second look at consent, right before a person's data leaves: it may have been withdrawn meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from domain.outbound import Outbound

#: The changes by which a destination learns something of a person.
_TELLS: Final = frozenset({"add", "event", "update"})

#: Of these profiles, those that consent to the purpose now. Raises `ConsentUnknownError` when it cannot tell.
Consented = Callable[[str, Sequence[str]], Awaitable[set[str]]]


def taken_back(update: Outbound) -> Outbound:
    """The removal of what was told before an update of somebody of whom nothing may be told any more."""
    fields = {**update.fields, **update.before}
    told = {name: value for name, value in fields.items() if value is not None}
    return msgspec.structs.replace(update, change="remove", fields=told, before={})


async def without_consent(consented: Consented, records: Sequence[Outbound]) -> set[str]:
    """The ids of the records that must not be sent. Taking somebody out of a destination needs no consent:
    it is what a withdrawal leads to."""
    by_purpose: dict[str, list[Outbound]] = {}
    for record in records:
        if record.purpose and record.change in _TELLS:
            by_purpose.setdefault(record.purpose, []).append(record)
    refused: set[str] = set()
    for purpose, several in by_purpose.items():
        given = await consented(purpose, [record.profile for record in several])
        refused.update(record.id for record in several if record.profile not in given)
    return refused
