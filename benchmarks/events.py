"""Events to measure with: records of about 400 bytes, as a shop's app sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from domain.records import Entry, Identifier, Record, entry_of

#: Persons whom the events are of.
PERSONS: Final = 50_000
#: Rows of one append, and of one bare COPY.
BATCH: Final = 5_000


def event(number: int) -> Entry:
    person = f"user-{number % PERSONS:06d}"
    body = (
        f'{{"type":"track","event":"Product Viewed","messageId":"m-{number:012d}","userId":"{person}",'
        f'"timestamp":"2026-11-24T09:00:00.000Z","properties":{{"product":"sku-{number % 997:04d}","price":19.9}}}}'
    )
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{number:012d}",
            type="track",
            name="Product Viewed",
            occurred_at=1_795_000_000_000_000 + number,
            identifiers=(Identifier("user_id", person),),
            properties_at="properties",
            body=msgspec.Raw(body.encode()),
        )
    )


def batches(first: int, count: int) -> Iterator[list[Entry]]:
    for start in range(first, first + count, BATCH):
        yield [event(number) for number in range(start, min(start + BATCH, first + count))]
