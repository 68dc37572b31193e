"""The two ways of rows into the log's tables: a few by one statement, many by COPY. What the chain covers is the same:
the rows as COPY has them.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain as concatenated
from itertools import islice
from typing import Any, Final

import psycopg

from adapters.log.schema import CHANNEL
from adapters.log.wire import HEADER, TRAILER, encode_log_rows, encode_stream_rows
from domain.records import Entry

#: So many rows are written by one statement: its round trips are fewer than COPY's, and a row costs more.
FEW: Final = 32
Buffer = bytes | bytearray | memoryview
#: Rows that are sent to the server at once.
CHUNK: Final = 250

_ROWS: Final = (
    "given AS (SELECT %b::bigint + place AS position, stream_id, version, topic, subject, state"
    " FROM unnest(string_to_array(%b, ',')::uuid[], string_to_array(%b, ',')::int[], %b::text[],"
    " string_to_array(%b, ',', '')::uuid[], %b::bytea[])"
    " WITH ORDINALITY AS given (stream_id, version, topic, subject, state, place)),"
    " streams AS (INSERT INTO log_stream (stream_id, version, position)"
    " SELECT stream_id, version, position FROM given),"
    " written AS (INSERT INTO log (position, stream_id, version, topic, subject, recorded_at, state)"
    " SELECT position, stream_id, version, topic, subject, %b, state FROM given), "
)
_BATCH: Final = (
    "batch AS (INSERT INTO log_batch (last_position, first_position, recorded_at, digest, checks)"
    " VALUES (%b, %b, %b, %b, %b))"
    " UPDATE log_head SET position = %b, recorded_at = %b, digest = %b"
    " RETURNING pg_notify(%b, position::text)"
)


def write_rows(
    cursor: psycopg.Cursor[Any],
    before: bytes,
    first: int,
    recorded_at: int,
    entries: Sequence[Entry],
    states: Iterable[bytes],
) -> None:
    """Writes these entries, with their states as they are stored, at positions from `first` on: the rows, their batch
    in the chain behind the digest `before`, and the head."""
    last = first + len(entries) - 1
    if len(entries) <= FEW:
        kept = list(states)
        rows = list(encode_log_rows(first, recorded_at, entries, kept))
        digest = hashlib.sha256(before + b"".join(rows)).digest()
        closing = _batch(first, last, recorded_at, digest, map(zlib.crc32, rows))
        streams, versions, topics, subjects, _ = zip(*entries, strict=True)
        cursor.execute(
            "WITH " + _ROWS + _BATCH,
            (
                first - 1,
                ",".join(streams),
                ",".join(map(str, versions)),
                list(topics),
                # Nobody's is an empty text. Of one row that makes no list at all, and then `unnest` has nobody too.
                ",".join(subject or "" for subject in subjects),
                kept,
                recorded_at,
                *closing,
            ),
        )
    else:
        chunks = _encoded(first, recorded_at, entries, states)
        copy_rows(cursor, before, first, last, recorded_at, encode_stream_rows(first, entries), chunks)


def _encoded(
    first: int, recorded_at: int, entries: Sequence[Entry], states: Iterable[bytes]
) -> Iterator[tuple[bytes, Sequence[bytes]]]:
    rows = encode_log_rows(first, recorded_at, entries, states)
    while chunk := list(islice(rows, CHUNK)):
        yield b"".join(chunk), chunk


def _batch(
    first: int, last: int, recorded_at: int, digest: bytes, checks: Iterable[int]
) -> tuple[int | bytes | str, ...]:
    packed = b"".join(map(struct.Struct(">I").pack, checks))
    return last, first, recorded_at, digest, packed, last, recorded_at, digest, CHANNEL


def copy_rows(
    cursor: psycopg.Cursor[Any],
    before: bytes,
    first: int,
    last: int,
    recorded_at: int,
    streams: Iterable[Buffer],
    chunks: Iterator[tuple[Buffer, Sequence[Buffer]]],
) -> None:
    """Writes rows at positions from `first` to `last` by COPY: tuples of `log_stream`, in pieces, and of `log` in
    chunks, each together and one by one; then their batch, and the head.

    Three quarters of the chunks are asked for, and covered by the chain, while the server is at work on the index over
    `streams`, which takes it about as long; the others while it is at work on those before.
    """
    chain = hashlib.sha256(before)
    checks: list[int] = []

    def covered() -> Iterator[Buffer]:
        for together, rows in chunks:
            chain.update(together)
            checks.extend(map(zlib.crc32, rows))
            yield together

    ready = covered()
    with cursor.copy("COPY log_stream FROM STDIN (FORMAT binary)") as copy:
        copy.write(HEADER)
        for piece in streams:
            copy.write(piece)
        copy.write(TRAILER)
        ahead = list(islice(ready, math.ceil(0.75 * (last - first + 1) / CHUNK)))
    with cursor.copy("COPY log FROM STDIN (FORMAT binary)") as copy:
        copy.write(HEADER)
        for together in concatenated(ahead, ready):
            copy.write(together)
        copy.write(TRAILER)
    cursor.execute("WITH " + _BATCH, _batch(first, last, recorded_at, chain.digest(), checks))
