"""Outbound records that follow one another, formed into batches: each is one message on the bus."""

from __future__ import annotations

from typing import Final

import msgspec

from domain.outbound import Outbound
from domain.records import Entry, derive_id

#: Bytes of a batch at most, where it has more than one record: half of what NATS is to take for a message.
BATCH_BYTES: Final = 4_000_000

_encode = msgspec.json.Encoder().encode


class Batches:
    """The batches of one connection, of at most so many records."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batch = ""
        self._records = 0
        self._bytes = 0

    def add(self, record: Outbound) -> Entry:
        """The row by which the record is requested, in the batch of those before it or in a new one."""
        fresh = derive_id("batch", record.id)
        state = _encode(msgspec.structs.replace(record, batch=self._batch or fresh))
        full = self._records == self._most or self._bytes + len(state) > BATCH_BYTES
        if not self._batch or full:
            if self._batch:
                state = _encode(msgspec.structs.replace(record, batch=fresh))
            self._batch, self._records, self._bytes = fresh, 0, 0
        self._records += 1
        self._bytes += len(state)
        return Entry(record.id, 1, "outbound.requested", record.profile, state)
