"""Where a pulled stream stands: its offset, in the log, written in one transaction with the records before it.

Each batch adds a version to the feed's own stream of offsets. Whoever adds a version that is there already has
been overtaken by another process, and nothing of its batch counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, text

from adapters.log.append import append
from adapters.log.read import read_positions
from adapters.quarantine import Quarantined, put_aside
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.records import Entry, Record, derive_id
from feeds.feed import Line, Refused
from runtime.admission import Plans, admit
from runtime.failpoints import failpoint
from runtime.set_aside import quarantined, told_of

#: So much of a line that cannot be read is kept.
_KEPT: Final = 64 * 1024


class Place(NamedTuple):
    """An offset (empty: none yet), and its version in the log."""

    offset: str
    version: int


class Pulled(NamedTuple):
    """A line as it came, and what it says."""

    raw: bytes
    line: Line


class OvertakenError(Exception):
    """Another process pulls this feed."""


def read_place(engine: Engine, feed: str) -> Place:
    """Where the feed's stream stands in the log."""
    with engine.connect() as connection:
        latest = _latest(connection, feed)
        if latest is None:
            return Place("", 0)
        version, position = latest
        [row] = read_positions(connection, [position])
    return Place(msgspec.json.decode(row.state)["offset"], version)


def _latest(connection: Connection, feed: str) -> tuple[int, int] | None:
    row = connection.execute(
        text(
            "SELECT version, position FROM log_stream WHERE stream_id = CAST(:stream AS uuid)"
            " ORDER BY version DESC LIMIT 1"
        ),
        {"stream": _stream(feed)},
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def _stream(feed: str) -> str:
    return derive_id("stream_offset", feed)


def commit(
    engine: Engine,
    feed: str,
    pulled: Sequence[Pulled],
    place: Place,
    received_at: int,
    plans: Plans = MappingProxyType({}),
    rules: Rules = DEFAULT_RULES,
) -> Place:
    """Takes in what was pulled, and moves the offset on, both or neither. Raises `OvertakenError`."""
    records: list[Record] = []
    aside: list[Quarantined] = []
    for raw, line in pulled:
        records += line.records
        if line.problem is not None:
            aside.append(quarantined(feed, Refused(raw[:_KEPT], line.problem.problems), {}, received_at))
    offset = next((line.offset for _, line in reversed(pulled) if line.offset), place.offset)
    moved = Place(offset, place.version + 1)
    told = msgspec.json.encode({"feed": feed, "offset": moved.offset})
    admitted = admit(plans, records, received_at, rules)
    entries = admitted.entries + [told_of(item) for item in aside]
    entries.append(Entry(_stream(feed), moved.version, f"stream.{feed}", None, told))
    with engine.begin() as connection:
        for item in (*admitted.aside, *aside):
            put_aside(connection, item)
        if not append(connection, entries, rules=rules).appended[-1].new:
            raise OvertakenError(feed)
        failpoint("pull.before_commit")
    failpoint("pull.committed")
    return moved


def lock_key(feed: str) -> int:
    """The key of the advisory lock by which one process alone pulls a feed."""
    return int.from_bytes(hashlib.sha256(f"pull {feed}".encode()).digest()[:8], "big", signed=True)
