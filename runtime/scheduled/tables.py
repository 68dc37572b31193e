"""A query's rows into the log, exactly once: those that are new by a cursor, or that differ from the last run.

A batch is one transaction: its records, what was refused of it, and how far the query has come.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine, text

from adapters.import_runs import (
    Run,
    Seen,
    begin_pass,
    forget_unseen,
    last_seen,
    require_run,
    save_seen,
    see_keys,
)
from adapters.log.append import Appended, append
from adapters.log.read import read_positions
from adapters.quarantine import Quarantined, put_aside
from adapters.warehouse import WarehouseError, cursor_text, cursor_value, query
from domain.identity_rules import DEFAULT_RULES, Rules
from domain.imports import Import
from domain.imports import Query as Declared
from domain.records import Entry, Record, derive_id, record_of
from feeds.blocks import Block
from feeds.mapping import Mapping as TableMapping
from feeds.parquet import block_of
from feeds.rows import Rejected
from feeds.table import block_reader
from runtime.admission import Plans, admit
from runtime.failpoints import failpoint
from runtime.set_aside import told_of

#: Rows with one value of the cursor that a run tells apart.
TIES: Final = 50_000
BATCH: Final = 5_000

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Counts(NamedTuple):
    """Rows that became new records, were in the log before or unchanged, and were refused."""

    taken: int = 0
    known: int = 0
    rejected: int = 0

    def plus(self, taken: int = 0, known: int = 0, rejected: int = 0) -> Counts:
        return Counts(self.taken + taken, self.known + known, self.rejected + rejected)


class Source(NamedTuple):
    """A query that is run: its import's name and definition, where its warehouse is, the feeds' plans, and the identity
    rules."""

    name: str
    declared: Import
    mapping: TableMapping
    url: str
    plans: Plans
    rules: Rules = DEFAULT_RULES


def run_query(engine: Engine, source: Source, run: Run) -> Counts:
    """Runs the query once. Raises `WarehouseError`, `FileError` and `SupersededError`."""
    assert source.declared.query is not None
    if source.declared.query.cursor:
        return _by_cursor(engine, source, source.declared.query, run)
    return _by_difference(engine, source, source.declared.query, run)


class _Place(NamedTuple):
    """Up to where the cursor has come: its value, the rows with that value that were taken, and the version of
    this in the log."""

    value: str
    rows: list[str]
    version: int


def _by_cursor(engine: Engine, source: Source, declared: Declared, run: Run) -> Counts:
    with engine.connect() as connection:
        place = _read_place(connection, source.name)
    since = cursor_value(place.value) if place.value else None
    counts, reader = Counts(), _Reader(source, run)
    for page in query(source.url, declared.duckdb, declared.sql, declared.cursor, since):
        values = _values(page, declared.cursor)
        block, digests = reader.block(page), []
        taken_before = Counter(place.rows)
        fresh: list[int] = []
        for index, row in enumerate(block.objects):
            digest = hashlib.sha256(_encode(row)).hexdigest()[:32]
            digests.append(digest)
            if taken_before[digest] and cursor_text(values[index]) == place.value:
                taken_before[digest] -= 1
            else:
                fresh.append(index)
        last = cursor_text(values[-1])
        if last == place.value:
            ties = place.rows + [digests[index] for index in fresh]
        else:
            ties = [digests[i] for i in range(len(digests)) if cursor_text(values[i]) == last]
        if len(ties) > TIES:
            raise WarehouseError(f"more than {TIES:,} rows have one value of the cursor; take a finer column")
        if not fresh:
            counts = counts.plus(known=len(block))
            continue
        place = _Place(last, ties, place.version + 1)
        told = msgspec.json.encode({"import": source.name, "cursor": place.value, "rows": place.rows})
        moved = Entry(_stream(source.name), place.version, f"import_cursor.{source.name}", None, told)
        records, refused = reader.records(block.only(fresh))
        with engine.begin() as connection:
            require_run(connection, run)
            appended = _append(connection, source, records, refused, run, [moved])
            if not appended[-1].new:
                raise WarehouseError("another process has moved the cursor")
            failpoint("import.before_commit")
        failpoint("import.committed")
        new = sum(one.new for one in appended[: len(records)])
        counts = counts.plus(new, len(block) - len(fresh) + len(records) - new, len(refused))
    return counts


def _read_place(connection: Connection, name: str) -> _Place:
    found = connection.execute(
        text(
            "SELECT version, position FROM log_stream WHERE stream_id = CAST(:stream AS uuid)"
            " ORDER BY version DESC LIMIT 1"
        ),
        {"stream": _stream(name)},
    ).one_or_none()
    if found is None:
        return _Place("", [], 0)
    [row] = read_positions(connection, [found[1]])
    said = msgspec.json.decode(row.state)
    return _Place(said["cursor"], said["rows"], found[0])


def _stream(name: str) -> str:
    return derive_id("import_cursor", name)


def _by_difference(engine: Engine, source: Source, declared: Declared, run: Run) -> Counts:
    counts, reader = Counts(), _Reader(source, run)
    with engine.connect() as connection:
        with connection.begin():
            begin_pass(connection)
        for page in query(source.url, declared.duckdb, declared.sql):
            block = reader.block(page)
            keys = _keys(block, declared.key)
            digests = [hashlib.sha256(_encode(row)).digest()[:16] for row in block.objects]
            with connection.begin():
                require_run(connection, run)
                unmet = see_keys(connection, keys)
                before = last_seen(connection, source.name, keys)
                changed: list[int] = []
                double: list[Rejected] = []
                for index, key in enumerate(keys):
                    if key not in unmet:
                        reason = "the query has more than one row with this key"
                        double.append(
                            Rejected(block.numbers[index], "duplicate_key", reason, block.row(index))
                        )
                        continue
                    unmet.discard(key)
                    if key not in before or before[key].digest != digests[index]:
                        changed.append(index)
                records, refused = reader.records(block.only(changed))
                appended = _append(connection, source, records, [*refused, *double], run, [])
                at = {number: one.position for number, one in zip(records, appended, strict=False)}
                save_seen(
                    connection,
                    source.name,
                    [Seen(keys[i], digests[i], at.get(block.numbers[i], 0)) for i in changed],
                )
                failpoint("import.before_commit")
            failpoint("import.committed")
            unchanged = len(block) - len(changed) - len(double)
            counts = counts.plus(len(records), unchanged, len(refused) + len(double))
        while gone := _forget(connection, source, declared, run):
            counts = counts.plus(gone if declared.removed_event else 0)
    return counts


def _forget(connection: Connection, source: Source, declared: Declared, run: Run) -> int:
    """Tells of rows that are gone; how many."""
    with connection.begin():
        require_run(connection, run)
        gone = forget_unseen(connection, source.name, BATCH)
        if gone and declared.removed_event:
            rows = read_positions(connection, [one.position for one in gone if one.position])
            records = {
                row.position: _removed(record_of(row.state), declared.removed_event, run)
                for row in rows
                # What is said of a person whose key is gone is nobody's any more.
                if not row.erased and row.topic.startswith(("track.", "identify.", "page.", "screen."))
            }
            _append(connection, source, records, [], run, [])
    return len(gone)


def _removed(before: Record, event: str, run: Run) -> Record:
    return Record(
        feed=before.feed,
        message_id=f"{derive_id('removed', run.id)}:{before.message_id}",
        type="track",
        name=event,
        occurred_at=run.due,
        identifiers=before.identifiers,
        body=before.body,
    )


class _Reader:
    """Pages as blocks, numbered through the whole run, and blocks as records. What it names a row by is its
    place in this very run, which no other has."""

    def __init__(self, source: Source, run: Run) -> None:
        file = f"import:{source.name}:{run.id}:{run.started_at}"
        self._read = block_reader(source.declared.feed, source.mapping, file, run.started_at)
        self._number = 1

    def block(self, page: Any) -> Block:
        if isinstance(page, Mapping):
            plain = {name: [_plain(cell) for cell in cells] for name, cells in page.items()}
            count = len(next(iter(plain.values()), ()))
            block = Block.of_columns(range(self._number, self._number + count), plain)
        else:
            block = block_of(self._number, page)
        self._number += len(block)
        return block

    def records(self, block: Block) -> tuple[dict[int, Record], Sequence[Rejected]]:
        """Records by their row's number, and the rows that do not fit."""
        found = self._read(block)
        return dict(zip(found.numbers, found.records, strict=True)), found.rejected


def _append(
    connection: Connection,
    source: Source,
    records: Mapping[int, Record],
    refused: Sequence[Rejected],
    run: Run,
    further: Sequence[Entry],
) -> list[Appended]:
    """Where the records stand, then what was refused, then `further` entries."""
    admitted = admit(source.plans, list(records.values()), run.started_at, source.rules)
    aside = [_quarantined(source, one, run) for one in refused]
    for item in (*admitted.aside, *aside):
        put_aside(connection, item)
    told = [told_of(item) for item in aside]
    return append(connection, [*admitted.entries, *told, *further], rules=source.rules).appended


def _quarantined(source: Source, row: Rejected, run: Run) -> Quarantined:
    id = derive_id("quarantine", source.declared.feed, run.id, str(run.started_at), str(row.number))
    body = _encode(row.row)
    return Quarantined(id, source.declared.feed, row.code, row.reason, {}, body, run.started_at)


def _keys(block: Block, key: Sequence[str]) -> list[bytes]:
    columns = [block.column(name) for name in key]
    return [hashlib.sha256(_encode(cells)).digest()[:16] for cells in zip(*columns, strict=True)]


def _values(page: Any, cursor: str) -> list[Any]:
    if isinstance(page, Mapping):
        found = page.get(cursor)
    else:
        found = page.column(cursor).to_pylist() if cursor in page.schema.names else None
    if found is None:
        raise WarehouseError(f"the query has no column '{cursor}', its cursor")
    return list(found)


def _plain(cell: Any) -> Any:
    """A driver's value as a record keeps it."""
    if isinstance(cell, datetime):
        at = cell.astimezone(UTC).replace(tzinfo=None) if cell.tzinfo else cell
        return at.isoformat() + ("Z" if cell.tzinfo else "")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, (UUID, timedelta)):
        return str(cell)
    if isinstance(cell, memoryview):
        return bytes(cell)
    return cell
