"""Whole projections written at once, by COPY in PostgreSQL's binary format: a rebuild's way in."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection

from adapters.log.read import driver_of
from adapters.log.wire import HEADER, TRAILER
from domain.profiles import Profile

_ID: Final = b"\x00\x00\x00\x10"
_NULL: Final = b"\xff\xff\xff\xff"
_CHUNK: Final = 1 << 20
_number: Final = struct.Struct(">iq").pack
_small: Final = struct.Struct(">ii").pack
_length: Final = struct.Struct(">i").pack
_columns: Final = struct.Struct(">h").pack


def copy_into(connection: Connection, schema: str, table: str, rows: Iterable[bytes]) -> None:
    """Writes encoded rows into a table, columns in the table's order."""
    with driver_of(connection).cursor().copy(f'COPY "{schema}"."{table}" FROM STDIN (FORMAT binary)') as copy:
        waiting, size = [HEADER], 0
        for row in rows:
            waiting.append(row)
            size += len(row)
            if size >= _CHUNK:
                copy.write(b"".join(waiting))
                waiting, size = [], 0
        waiting.append(TRAILER)
        copy.write(b"".join(waiting))


def identity_rows(graph: Mapping[str, str]) -> Iterable[bytes]:
    """Rows of `identity`."""
    two = _columns(2)
    return (two + _uuid(node) + _uuid(profile) for node, profile in graph.items())


def profile_rows(profiles: Iterable[Profile], sealed: Mapping[str, bytes]) -> Iterable[bytes]:
    """Rows of `profile`, with their sealed states."""
    three = _columns(3)
    for profile in profiles:
        due = _NULL if profile.due is None else _number(8, profile.due)
        state = sealed[profile.id]
        yield three + _uuid(profile.id) + due + _length(len(state)) + state


def membership_rows(profiles: Iterable[Profile]) -> Iterable[bytes]:
    """Rows of `membership`: it says what the profiles say."""
    four = _columns(4)
    for profile in profiles:
        for audience, since in profile.memberships.items():
            yield (
                four + _text(audience) + _uuid(profile.id) + _number(8, since.position) + _number(8, since.at)
            )


def outbound_rows(states: Mapping[str, tuple[str, str, int, str, int, str | None]]) -> Iterable[bytes]:
    """Rows of `outbound`: id → connection, batch, position, status, attempts, profile."""
    seven = _columns(7)
    for id, (connection, batch, position, status, attempts, profile) in states.items():
        yield (
            seven
            + _uuid(id)
            + _text(connection)
            + _uuid(batch)
            + _number(8, position)
            + _text(status)
            + _small(4, attempts)
            + (_uuid(profile) if profile is not None else _NULL)
        )


def _uuid(text: str) -> bytes:
    return _ID + bytes.fromhex(text.replace("-", ""))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _length(len(encoded)) + encoded
