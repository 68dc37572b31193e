"""`roundtrip history`: writes the log into the lake as a history that can be asked, off the hot path.

It follows the pipeline, so that whose record it is has been decided; it never reads above the pipeline's position.
A killed writer goes on where the tables are (`adapters/history/tables.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Final, NamedTuple

import structlog
from sqlalchemy import Connection, Engine, text

from adapters.history.tables import History
from adapters.log.read import driver_of, read_positions, read_sources
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from adapters.quarantine import left_out
from domain.configuration import Definition
from domain.erasure import ERASED, decode_erased
from domain.history import HistoryRow, anchor, history_of
from domain.records import RECORD_TYPES, Row, record_of
from runtime.definitions import Definitions
from runtime.identity_rules import rules_until
from runtime.pairing import pairs_of
from runtime.pipeline import CHECKPOINT

#: Rows of the log in one commit of the lake, unless `LINGER_S` comes first.
BATCH_ROWS: Final = 50_000
#: Rows that are held in memory at once while they are made into columns.
PAGE_ROWS: Final = 10_000
#: How long what is there waits for more, in seconds: each commit is a file. Who is erased waits for nobody.
LINGER_S: Final = 30.0
IDLE_WAIT_S: Final = 1.0
_LEAD: Final = 0x68697374
_INBOUND: Final = tuple(f"{type}." for type in sorted(RECORD_TYPES))

log = structlog.get_logger("history")


class Priorities:
    """Each feed's priority as it was at any position."""

    def __init__(self, connection: Connection, definitions: Definitions, feeds: Sequence[str]) -> None:
        self._changes = {feed: _changes(connection, definitions, feed) for feed in feeds}

    def at(self, feed: str, position: int) -> int:
        held = 0
        for changed, priority in self._changes.get(feed, ()):
            if changed > position:
                break
            held = priority
        return held


def _changes(connection: Connection, definitions: Definitions, feed: str) -> list[tuple[int, int]]:
    stream = str(Definition.create_id("feed", feed))
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT position FROM log_stream WHERE stream_id = %b::text::uuid ORDER BY 1", (stream,)
        )
        positions = [position for (position,) in cursor]
    found = [definitions.change_of(row) for row in read_positions(connection, positions)]
    return [(change.position, int((change.body or {}).get("priority", 0))) for change in found]


class Pending(NamedTuple):
    """How many positions the pipeline is ahead, and whether somebody may have been erased meanwhile."""

    positions: int
    erased: bool


class HistoryWriter:
    """Writes what the pipeline has taken in since the tables were last written."""

    def __init__(self, engine: Engine, definitions: Definitions, history: History) -> None:
        self._engine = engine
        self._definitions = definitions
        self._history = history
        self.position = min(history.written().values())
        self._erasures = 0

    def pending(self) -> Pending:
        with self._engine.connect() as connection:
            ahead = read_checkpoint(connection, CHECKPOINT) - self.position
            return Pending(ahead, ahead > 0 and _erasures(connection) != self._erasures)

    def turn(self) -> int:
        """Writes the next rows; how many positions that were, 0 where there is nothing new."""
        with self._engine.connect() as connection:
            goal = read_checkpoint(connection, CHECKPOINT)
            if goal <= self.position:
                return 0
            self._erasures = _erasures(connection)
            rows: list[HistoryRow] = []
            gone: dict[str, int] = {}
            position, upto = self.position, min(goal, self.position + BATCH_ROWS)
            for page, end in _pages(connection, position, upto):
                rows += history_rows(connection, self._definitions, page)
                for row in page:
                    if row.topic == ERASED:
                        gone |= dict.fromkeys(decode_erased(row.state).nodes, row.position)
                position = end
        if gone:
            rows = [row for row in rows if row.position > gone.get(row.node, 0)]
            self._history.erase(gone)
        self._history.write(rows, position)
        done, self.position = position - self.position, position
        return done


def _erasures(connection: Connection) -> int:
    return int(connection.execute(text("SELECT erasures FROM log_head")).scalar_one())


def _pages(connection: Connection, after: int, upto: int) -> Iterator[tuple[list[Row], int]]:
    while after < upto:
        rows, after = read_sources(connection, after, PAGE_ROWS, upto)
        yield rows, after


def history_rows(
    connection: Connection, definitions: Definitions, rows: Sequence[Row]
) -> Iterator[HistoryRow]:
    """The history's rows of rows of the log. Records that are nobody's have none."""
    rows = [row for row in rows if row.topic.startswith(_INBOUND) and not row.erased]
    apart = left_out(connection, rows[0].position - 1, rows[-1].position) if rows else set()
    records = [(row, record_of(row.state)) for row in rows if row.position not in apart]
    if not records:
        return
    workspace = load_workspace(connection)
    rules = rules_until(connection, rows[-1].position + 1, definitions.change_of)
    pairs = pairs_of(workspace)
    feeds = sorted({record.feed for _, record in records})
    priorities = Priorities(connection, definitions, feeds)
    for row, told in records:
        record = rules(row.position).understood(told)
        node = anchor(record, row.subject or "", rules(row.position))
        if node is not None:
            priority = priorities.at(record.feed, row.position)
            back = pairs.get(record.feed, ())
            yield from history_of(record, row.position, row.recorded_at, node, priority, back)


def run_history(engine: Engine, definitions: Definitions, history: History, stop: Event) -> None:
    """Leads until `stop`: only one process writes, others wait for it to go."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lead:
        while not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEAD}).scalar():
            if stop.wait(IDLE_WAIT_S):
                return
        writer = HistoryWriter(engine, definitions, history)
        log.info("history leads", position=writer.position)
        since: float | None = None
        while not stop.is_set():
            pending = writer.pending()
            since = None if not pending.positions else since or time.monotonic()
            due = pending.positions >= BATCH_ROWS or pending.erased
            if not due and (since is None or time.monotonic() - since < LINGER_S):
                stop.wait(IDLE_WAIT_S)
                continue
            writer.turn()
            history.compact()
            since = None
