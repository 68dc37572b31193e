"""Reading the log: in order of position, which is the order of commit, so nothing is ever skipped.

Old partitions are in the lake. Positions are without a gap, so a reader knows by the first row that it gets
whether the database has all that it asked for, and otherwise looks where the partition is.

Rows come with their states in the clear, opened by the keys of the connection's engine; of a person who was
erased they come without one (`Row.erased`). Raises `UnreadableError` for what is unreadable without reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine

from adapters.keys.keyring import open_rows
from adapters.log.archive import Archived, archived_at, known_archived
from adapters.log.driver import driver_of as driver_of
from adapters.log.schema import CHANNEL
from domain.configuration import TOPIC_PREFIX
from domain.derived import VIEWED
from domain.records import TOPIC_NAME_LIMIT, Row

#: Kinds of rows that the pipeline appends, and has no need to read again.
DERIVED = ("audience", "profile", "identity", "routing", "gathered")
#: How their topics begin.
DERIVED_TOPICS: Final = tuple(f"{kind}." for kind in DERIVED)
_SOURCES = " OR ".join(f"starts_with(topic, '{kind}')" for kind in DERIVED_TOPICS)
_COLUMNS = "position, stream_id::text, version, topic, subject::text, recorded_at, state"
_END: Final = 2**62
#: So many archived rows are looked at together where only some are wanted.
_LEAST: Final = 1_000


class Head(NamedTuple):
    """The log's last position and time (microseconds), and which clock stamps it."""

    position: int
    recorded_at: int
    clock: str


class _Choice(NamedTuple):
    """Which rows are wanted: as a condition with its values, and as a function of a row."""

    condition: str
    values: tuple[Any, ...]
    holds: Callable[[Row], bool]


_ALL: Final = _Choice("true", (), lambda row: True)
_NOT_DERIVED: Final = _Choice(f"NOT ({_SOURCES})", (), lambda row: not row.topic.startswith(DERIVED_TOPICS))
#: What follows from other records, and definitions, moves no time: timers wait for a row that does.
_MOVING: Final = _Choice(
    f"NOT ({_SOURCES}) AND NOT starts_with(topic, '{TOPIC_PREFIX}')",
    (),
    lambda row: not row.topic.startswith((*DERIVED_TOPICS, TOPIC_PREFIX)),
)


def read_head(connection: Connection) -> Head:
    with driver_of(connection).cursor(binary=True) as cursor:
        row = cursor.execute("SELECT position, recorded_at, clock FROM log_head").fetchone()
    assert row is not None, "the log has no head row; run `roundtrip migrate`"
    return Head(*row)


def read_rows(connection: Connection, after: int, limit: int, upto: int | None = None) -> list[Row]:
    """At most `limit` rows with a position above `after`, and not above `upto` where that is given."""
    return open_rows(connection, _read(connection, after, _END if upto is None else upto, limit, _ALL))


def read_sources(
    connection: Connection, after: int, limit: int, upto: int | None = None
) -> tuple[list[Row], int]:
    """As `read_rows`, without the rows that the pipeline itself has derived from others; and the position up
    to which there are no others than these."""
    with driver_of(connection).cursor(binary=True) as cursor:
        [head] = cursor.execute("SELECT position FROM log_head").fetchone() or [0]
    end = head if upto is None else min(head, upto)
    rows = open_rows(connection, _read(connection, after, end, limit, _NOT_DERIVED))
    return rows, rows[-1].position if len(rows) == limit else max(end, after)


def read_topics(
    connection: Connection, after: int, limit: int, upto: int | None, topics: Sequence[str]
) -> list[Row]:
    """As `read_rows`, of rows with one of these topics."""
    wanted = frozenset(topics)
    choice = _Choice("topic = ANY(%b)", (list(topics),), lambda row: row.topic in wanted)
    return open_rows(connection, _read(connection, after, _END if upto is None else upto, limit, choice))


def read_events(
    connection: Connection, after: int, limit: int, upto: int, names: Collection[str]
) -> list[Row]:
    """As `read_rows`, of records that may be events with these names: their topics repeat a name's beginning, and those
    of page and screen calls have names of their own."""
    topics = [f"track.{name[:TOPIC_NAME_LIMIT]}" for name in names]
    kinds = tuple(f"{kind}." for kind, name in VIEWED.items() if name in names)
    wanted = frozenset(topics)
    choice = _Choice(
        "topic = ANY(%b) OR split_part(topic, '.', 1) || '.' = ANY(%b)",
        (topics, list(kinds)),
        lambda row: row.topic in wanted or row.topic.startswith(kinds),
    )
    return open_rows(connection, _read(connection, after, upto, limit, choice))


def read_positions(connection: Connection, positions: Sequence[int]) -> list[Row]:
    """The rows at these positions, in order."""
    with driver_of(connection).cursor(binary=True, row_factory=_row) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM log WHERE position = ANY(%b) ORDER BY position",  # noqa: S608
            (list(positions),),
        )
        rows = cursor.fetchall()
    part: Archived | None = None
    for position in sorted(set(positions).difference(row.position for row in rows)):
        if position > 0 and (part is None or position > part.last):
            part = archived_at(connection, position)
        if part is not None:
            rows += part.rows(position, position, 1)
    return open_rows(connection, sorted(rows, key=lambda row: row.position))


def time_before(connection: Connection, position: int) -> int:
    """The log's time (microseconds) right before a position: that of the last row that moves it, 0 where none does."""
    page, end = 16, position - 1
    while end > 0:
        rows = _read(connection, max(end - page, 0), end, page, _MOVING)
        if rows:
            return rows[-1].recorded_at
        page, end = min(page * 8, 10_000), end - page
    return 0


def first_moving_from(connection: Connection, position: int) -> int | None:
    """The first position from this one on whose row moves the log's time, `None` where there is none."""
    rows = _read(connection, position - 1, _END, 1, _MOVING)
    return rows[0].position if rows else None


def iterate(
    connection: Connection, after: int = 0, upto: int | None = None, page: int = 5000
) -> Iterator[Row]:
    """Every row above `after`, page by page, in constant memory, within the connection's transaction."""
    while rows := read_rows(connection, after, page, upto):
        yield from rows
        after = rows[-1].position


def pages(engine: Engine, after: int = 0, upto: int | None = None, page: int = 5000) -> Iterator[list[Row]]:
    """As `iterate`, each page in a transaction of its own, so that nobody waits for a reader who takes long."""
    while True:
        with engine.connect() as connection:
            rows = read_rows(connection, after, page, upto)
        if not rows:
            return
        yield rows
        after = rows[-1].position


def listen(connection: Connection) -> None:
    """Has this connection told of appends. It must be in autocommit mode."""
    driver_of(connection).execute(f"LISTEN {CHANNEL}")


def wait_for_append(connection: Connection, timeout: float, beyond: int = 0) -> bool:
    """Waits at most `timeout` seconds for an append that reaches beyond a position; true when there was one."""
    return any(int(told.payload) > beyond for told in driver_of(connection).notifies(timeout=timeout))


def _read(connection: Connection, after: int, end: int, limit: int, choice: _Choice) -> list[Row]:
    """At most `limit` of the chosen rows above `after` and not above `end`, from wherever they are, sealed."""
    found: list[Row] = []
    while after < end and len(found) < limit:
        rows: list[Row] = []
        if not known_archived(connection, after + 1):
            rows = _read_live(connection, after, end, limit - len(found), choice)
            if rows and rows[0].position == after + 1:
                return found + rows
        part = archived_at(connection, after + 1)
        if part is None:
            return found + rows
        last = min(part.last, end)
        while after < last and len(found) < limit:
            rows = part.rows(after + 1, last, max(limit - len(found), _LEAST))
            after = rows[-1].position if rows else last
            found += [row for row in rows if choice.holds(row)]
    return found[:limit]


def _row(_: Any) -> Callable[[Sequence[Any]], Row]:
    return Row._make


def _read_live(connection: Connection, after: int, end: int, limit: int, choice: _Choice) -> list[Row]:
    with driver_of(connection).cursor(binary=True, row_factory=_row) as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM log WHERE position > %b AND position <= %b AND ({choice.condition})"  # noqa: S608
            " ORDER BY position LIMIT %b",
            (after, end, *choice.values, limit),
        )
        return cursor.fetchall()
