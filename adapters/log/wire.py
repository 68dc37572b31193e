"""Rows of the log in PostgreSQL's binary COPY format, which is also what the hash chain covers.

Source: postgresql.org/docs/18/sql-copy.html, "Binary Format". Hand-written since it is the hot path of
every append: about a third of the time of psycopg's row by row dumpers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Final

from domain.records import Entry, Row

HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER: Final = struct.pack(">h", -1)
_NULL: Final = b"\xff\xff\xff\xff"
#: Columns, then each column's length before it: position and stream_id; version, and the topic's length.
_LOG_KEY: Final = struct.Struct(">hiqi16siii")
_LOG_TIME: Final = struct.Struct(">iqi")
_STREAM: Final = struct.Struct(">hi16siiiq")
#: So many tuples of `log_stream` at a time: the server is at work on the first as the next are encoded.
_PIECE: Final = 500
#: Where in a tuple of `log` its position is.
POSITION_AT: Final = struct.calcsize(">hi")
#: How far before its state its time is: the time, and the length of the state.
TIME_BEFORE_STATE: Final = struct.calcsize(">qi")


def encode_log_rows(
    first: int, recorded_at: int, entries: Sequence[Entry], states: Iterable[bytes]
) -> Iterator[bytes]:
    """Tuples of table `log`, columns in the table's order, at positions from `first` on, with these states."""
    topics = {text: text.encode() for text in {entry[2] for entry in entries}}
    shapes = {text: (topic, len(topic), *_shapes(len(topic))) for text, topic in topics.items()}
    streams = _bytes_of([entry[0] for entry in entries])
    subjects = iter(_bytes_of([owner for entry in entries if (owner := entry[3]) is not None]))
    for position, stream, (_, version, text, owner, _), state in zip(
        count(first), streams, entries, states, strict=False
    ):
        topic, size, owned, unowned = shapes[text]
        if owner is None:
            key = unowned(7, 8, position, 16, stream, 4, version, size, topic, -1, 8, recorded_at, len(state))
        else:
            key = owned(
                7, 8, position, 16, stream, 4, version, size, topic, 16, next(subjects), 8, recorded_at, len(state)
            )  # fmt: skip
        yield key + state


@lru_cache(1_000)
def _shapes(topic: int) -> tuple[Callable[..., bytes], Callable[..., bytes]]:
    """What packs a tuple up to its state, with a topic of so many bytes: one that has a subject, and one without."""
    return (
        struct.Struct(f">hiqi16siii{topic}si16siqi").pack,
        struct.Struct(f">hiqi16siii{topic}siiqi").pack,
    )


def _bytes_of(uuids: Sequence[str]) -> list[bytes]:
    # All at once: a call for each would be a good part of the encoding.
    together = bytes.fromhex("".join(uuids).replace("-", ""))
    return [together[at : at + 16] for at in range(0, len(together), 16)]


def encode_row(row: Row) -> bytes:
    """A row that was read, as the tuple of table `log` that it was appended as."""
    entry = Entry(*row[1:5], row.state)
    return next(encode_log_rows(row.position, row.recorded_at, (entry,), (row.state,)))


def decode_row(data: bytes) -> Row:
    """What a tuple of table `log` says, in the types that readers get."""
    _, _, position, _, stream, _, version, size = _LOG_KEY.unpack_from(data)
    at = _LOG_KEY.size + size
    topic = data[_LOG_KEY.size : at].decode()
    if data[at : at + 4] == _NULL:
        subject, at = None, at + 4
    else:
        subject, at = _text_of(data[at + 4 : at + 20]), at + 20
    _, recorded_at, size = _LOG_TIME.unpack_from(data, at)
    at += _LOG_TIME.size
    return Row(position, _text_of(stream), version, topic, subject, recorded_at, data[at : at + size])


def _text_of(uuid: bytes) -> str:
    h = uuid.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def encode_stream_rows(first: int, entries: Sequence[Entry]) -> Iterator[bytes]:
    """Tuples of table `log_stream`, columns in the table's order, at positions from `first` on, some at a time.

    They come in order of stream, which is the order of the index: its pages are then gone through once.
    """
    pack, streams = _STREAM.pack, _bytes_of([entry[0] for entry in entries])
    order = sorted(range(len(entries)), key=streams.__getitem__)
    for at in range(0, len(order), _PIECE):
        some = order[at : at + _PIECE]
        yield b"".join([pack(3, 16, streams[n], 4, entries[n][1], 8, first + n) for n in some])
