"""Appending rows that were sealed and encoded before the log's head was locked, by whoever has the time.

Whether somebody was erased since says the head; whether somebody has a key by now, or a row is there already, the
primary keys of `subject_key` and `log_stream` (docs/decisions/0002-append.md, "Sealed ahead").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from adapters.keys.keyring import keyring_of
from adapters.keys.local import KEY_BYTES
from adapters.keys.making import key_rows, make_keys, sealed, subjects_of, write_keys
from adapters.keys.sealing import place_of_row, unseal
from adapters.log.append import PROBE, ensure_partitions, lock_head
from adapters.log.driver import driver_of
from adapters.log.placing import Unplaced
from adapters.log.writing import CHUNK, copy_rows
from domain.records import Entry


class SealedAhead(NamedTuple):
    """Rows whose states are sealed, under keys that were there as the log's head counted so many `erasures`, and new
    ones for those who had none then. `secrets` are all of these keys, in the order in which whose they are come,
    `keys` those that are new (`key_rows`)."""

    rows: Unplaced
    erasures: int
    secrets: bytes
    keys: Sequence[bytes]


def seal_ahead(connection: Connection, entries: Sequence[Entry], probes: bool) -> SealedAhead | None:
    """The entries as they may be appended while nobody is erased, and nobody else makes a key for somebody new.

    Where it `probes`, many people are taken for new as far as some of them tell; if one of them is known, that shows as
    they are appended. `None` where somebody was erased of whom nothing has come since.
    """
    keyring, subjects = keyring_of(connection), subjects_of(entries)
    with driver_of(connection).cursor(binary=True) as cursor:
        there = keyring.there(cursor, subjects, probes)
    if there is None:
        return None
    erasures, known = there
    new = [subject for subject in subjects if subject not in known]
    made, wrapped = make_keys(keyring.management, new)
    secrets = {**known, **dict(zip(new, made, strict=True))}
    return SealedAhead(
        Unplaced.of(entries, sealed(entries, secrets)),
        erasures,
        b"".join(map(secrets.__getitem__, subjects)),
        key_rows(new, wrapped),
    )


def open_ahead(ahead: SealedAhead) -> list[Entry]:
    """The entries with their states in the clear again."""
    entries = list(ahead.rows.entries())
    secrets = (ahead.secrets[at : at + KEY_BYTES] for at in range(0, len(ahead.secrets), KEY_BYTES))
    keys = dict(zip(subjects_of(entries), secrets, strict=True))
    return [
        entry
        if entry.subject is None
        else entry._replace(
            state=unseal(
                AESGCM(keys[entry.subject]), entry.state, place_of_row(entry.stream_id, entry.version)
            )
        )
        for entry in entries
    ]


def append_ahead(connection: Connection, ahead: SealedAhead) -> bool:
    """As `adapters.log.append.append`. Whether the entries are in the log now, all of them new: nothing was appended
    where one of them is there already, somebody was erased since they were sealed, or somebody has a key by now for
    whom one was made."""
    rows = ahead.rows
    with driver_of(connection).cursor(binary=True) as cursor:
        head = lock_head(cursor, None, list(rows.entries(PROBE)))
        if head.known or head.erasures != ahead.erasures:
            return False
        first, last = head.position + 1, head.position + rows.size
        cursor.execute("SAVEPOINT append")
        try:
            if ahead.keys:
                write_keys(cursor, ahead.keys)
            ensure_partitions(cursor, first, last, head.partition_rows)
            log, streams = rows.placed(first, head.recorded_at)
            chunks = _chunks(log, rows.ends.tolist())
            copy_rows(cursor, head.digest, first, last, head.recorded_at, [streams], chunks)
        except psycopg.errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT append")
            return False
        return True


def _chunks(log: memoryview, ends: Sequence[int]) -> Iterator[tuple[memoryview, Sequence[memoryview]]]:
    begin = 0
    for at in range(0, len(ends), CHUNK):
        some = ends[at : at + CHUNK]
        yield log[begin : some[-1]], [log[start:end] for start, end in pairwise([begin, *some])]
        begin = some[-1]
