"""The log's old partitions in the lake: every reader reads across, nothing is lost, doubled or unnoticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from eventsourcing.persistence import IntegrityError, StoredEvent
from eventsourcing.utils import Environment
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from adapters.database import open_as_owner
from adapters.lake import files
from adapters.lake.errors import LakeError
from adapters.lake.table import Part, parts_of, replace_partition
from adapters.log.append import append
from adapters.log.archive import StaleSnapshotError
from adapters.log.persistence import LogFactory
from adapters.log.read import iterate, read_head, read_positions, read_rows, read_sources
from domain.records import Entry, Row, derive_id
from runtime import log_archive
from runtime.commands.log import app
from runtime.log_archive import ArchiveError, archive_log
from runtime.verify import verify_log
from tests.integration.archive.archiving import EACH, SIZES, WHOLE, alter, archived, fault_of
from tests.integration.tampering import entry, shrink_partitions
from tests.servers import wait_until


def rows_of(engine: Engine, page: int = 5_000) -> list[Row]:
    with engine.connect() as connection:
        return list(iterate(connection, page=page))


def sources_of(engine: Engine, limit: int) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    ends: list[int] = []
    after = 0
    with engine.connect() as connection:
        while True:
            found, end = read_sources(connection, after, limit)
            if end == after:
                return rows, ends
            rows += found
            ends.append(end)
            after = end


def partitions(engine: Engine) -> set[str]:
    with engine.connect() as connection:
        return set(
            connection.execute(
                text("SELECT tablename FROM pg_tables WHERE tablename ~ '^log_[0-9]+$'")
            ).scalars()
        )


def test_every_reader_reads_across_as_before(
    engine: Engine, owner: Engine, location: str, database: str
) -> None:
    before = rows_of(engine)
    sources, ends = sources_of(engine, 7)
    told: list[tuple[int, int]] = []
    moved = archive_log(owner, location, 1, lambda done, of: told.append((done, of)))
    assert [(one.number, one.first, one.last) for one in moved] == [(0, 1, 99), (1, 100, 199), (2, 200, 299)]
    assert told[-1] == (3 * 299, 3 * 299)
    assert partitions(engine) == {"log_3", "log_4", "log_5"}
    for page in (1, 7, 100, 5_000):
        assert rows_of(engine, page) == before
    assert sources_of(engine, 7) == (sources, ends)
    assert sources_of(engine, 1_000)[0] == sources
    with engine.connect() as connection:
        assert read_rows(connection, 95, 210, 303) == before[95:303]
        assert read_rows(connection, 150, 9, 150) == []
        assert read_sources(connection, 110, 50, 180) == ([], 180)
        some = [1, 99, 100, 250, 299, 300, WHOLE]
        assert read_positions(connection, [*reversed(some), WHOLE + 9]) == [before[n - 1] for n in some]
    found = verify_log(database, lambda done, of: None)
    assert (found.rows, found.batches, found.fault) == (WHOLE, len(SIZES), None)
    assert archived(owner, location) == []


def test_the_lake_is_a_delta_table_of_zstd_parquet(engine: Engine, owner: Engine, location: str) -> None:
    before = rows_of(engine)
    archived(owner, location, keep=2)
    table = DeltaTable(location)
    assert table.metadata().partition_columns == ["partition"]
    read = sorted(table.to_pyarrow_table().to_pylist(), key=lambda row: row["position"])
    for row, was in zip(read, before[:199], strict=True):
        # What is somebody's is in the lake as it was in the log: sealed.
        sealed = was.subject is not None
        assert (
            (row["state"][:1] == b"\x01" and len(row["state"]) == len(was.state) + 29)
            if sealed
            else (row["state"] == was.state)
        )
    assert [row["partition"] for row in read] == [0] * 99 + [1] * 100
    assert len(table.file_uris()) == 6
    for file in table.file_uris():
        column = pq.ParquetFile(file.removeprefix("file://")).metadata.row_group(0).column(6)
        assert column.compression == "ZSTD"


def test_the_commands_read_across(
    engine: Engine, database: str, tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(monkeypatch, database, tmp_path)
    before = rows_of(engine)
    run = CliRunner().invoke
    dry = run(app, ["archive", "--keep", "2", "--dry-run"])
    assert dry.stdout == "partition 0: positions 1 to 99\npartition 1: positions 100 to 199\n"
    assert len(partitions(engine)) == 6
    assert run(app, ["archive", "--keep", "2"]).stdout == dry.stdout
    assert len(partitions(engine)) == 4
    file = tmp_path / "log.parquet"
    assert run(app, ["export", str(file)]).exit_code == 0
    assert pq.read_table(file)["state"].to_pylist() == [row.state for row in before]
    lines = run(app, ["tail", "--from", "150"]).stdout.splitlines()
    assert [json.loads(line)["position"] for line in lines] == list(range(150, WHOLE + 1))
    assert run(app, ["verify", "--jobs", "1"]).exit_code == 0


def environment(monkeypatch: pytest.MonkeyPatch, database: str, home: Path) -> dict[str, str]:
    settings = {"DATABASE_URL": database, "NATS_URL": "nats://unused", "HOME": str(home)}
    for name, value in settings.items():
        monkeypatch.setenv(f"ROUNDTRIP_{name}", value)
    return {f"ROUNDTRIP_{name}": value for name, value in settings.items()}


def test_what_is_archived_is_still_a_duplicate(engine: Engine, owner: Engine, location: str) -> None:
    archived(owner, location, keep=0)
    for count in (1, 200):
        with engine.begin() as connection:
            again = [entry_again(n) for n in range(1, count + 1)]
            batch = append(connection, again)
        assert list(batch.appended) == [(n, False) for n in range(1, count + 1)]
    with engine.connect() as connection:
        assert read_head(connection).position == WHOLE


def entry_again(number: int) -> Entry:
    return Entry(derive_id("test", str(number)), 1, "track.again", None, b"")


def test_an_application_reads_its_events_across(database: str, location: str) -> None:
    factory = LogFactory(Environment("Orders", {"ROUNDTRIP_DATABASE_URL": database}))
    recorder = factory.application_recorder()
    shrink_partitions(database, 10, "app_orders")
    one, other = UUID(derive_id("order")), "an order by name"
    for version in range(1, 13):
        recorder.insert_events(
            [StoredEvent(it, version, f"t{version % 2}", b"%d" % version) for it in (one, other)]
        )
    events = [recorder.select_events(it) for it in (one, other)]
    notifications = recorder.select_notifications(1, 100)
    owner = open_as_owner(database, application="test", schema="app_orders")
    assert archived(owner, location) == [0]
    assert [recorder.select_events(it) for it in (one, other)] == events
    assert recorder.select_events(one, gt=2, lte=6, desc=True, limit=3) == events[0][5:2:-1]
    assert recorder.select_notifications(1, 100) == notifications
    assert recorder.select_notifications(3, 9, stop=15, inclusive_of_start=False) == notifications[3:12]
    some = [one for one in notifications if one.topic == "t1"]
    assert recorder.select_notifications(None, 100, topics=["t1"]) == some
    with recorder.subscribe(gt=0) as subscription:
        assert [next(subscription).id for _ in range(24)] == list(range(1, 25))
    with pytest.raises(IntegrityError):
        recorder.insert_events([StoredEvent(one, 1, "t", b"")])
    owner.dispose()
    factory.close()


@pytest.mark.parametrize(
    ("column", "value"), [("state", b"x"), ("topic", "track.x"), ("version", 2), ("subject", derive_id("x"))]
)
def test_an_altered_file_is_noticed_and_the_row_named(
    engine: Engine, owner: Engine, location: str, database: str, column: str, value: object
) -> None:
    archived(owner, location)
    alter(location, 150, {column: value})
    fault = fault_of(database)
    assert (fault.kind, fault.position) == ("altered", 150)


def test_a_row_that_is_missing_in_a_file_is_named(
    engine: Engine, owner: Engine, location: str, database: str
) -> None:
    archived(owner, location)
    alter(location, 150, None)
    assert (fault_of(database).kind, fault_of(database).position) == ("missing", 150)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_file_is_noticed_and_its_rows_named(
    engine: Engine, owner: Engine, location: str, database: str, damage: str
) -> None:
    archived(owner, location)
    [part] = [p for p in parts_of(location, 1) if p.first <= 150 <= p.last]
    file = Path(location.removeprefix("file://")) / part.path
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        column = pq.ParquetFile(file).metadata.row_group(0).column(6)
        middle = column.data_page_offset + column.total_compressed_size - 20
        data[middle] ^= 0xFF
        if damage == "cut":
            del data[middle:]
        file.write_bytes(data)
    fault = fault_of(database)
    assert fault.kind == "altered"
    assert fault.position == part.first
    with pytest.raises(LakeError, match=r"positions 1\d\d to"), engine.connect() as connection:
        files._known_rows.cache_clear()
        files._known_file.cache_clear()
        read_rows(connection, part.first - 1, 1)


POINTS = (
    "archive.checked:1",
    "archive.file_written:1",
    "archive.file_written:3",
    "archive.committed:1",
    "archive.compared:2",
    "archive.before_release:1",
    "archive.before_release:2",
    "archive.released:1",
)


def test_a_kill_anywhere_leaves_a_log_that_is_whole_and_the_next_run_goes_on(
    engine: Engine,
    owner: Engine,
    location: str,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = os.environ | environment(monkeypatch, database, tmp_path)
    before = rows_of(engine)
    for point in POINTS:
        killed = subprocess.run(
            [sys.executable, "-m", "runtime.cli", "log", "archive", "--keep", "0"],
            env=given | {"ROUNDTRIP_FAILPOINT": point},
            capture_output=True,
            check=False,
        )
        gone = 6 - len(partitions(engine))
        assert killed.returncode == -signal.SIGKILL or gone == 4, killed.stderr.decode()
        assert rows_of(engine, 33) == before, point
        assert fault_of(database) is None, point
    assert archived(owner, location, keep=0) == list(range(gone, 4))
    assert rows_of(engine) == before
    assert fault_of(database) is None
    held = {part.path for number in range(4) for part in parts_of(location, number)}
    there = {str(file.relative_to(tmp_path / "lake/log")) for file in (tmp_path / "lake").rglob("*.parquet")}
    assert there - held == set()
    assert len(DeltaTable(location).to_pyarrow_table()) == 4 * EACH - 1


def test_who_reads_meanwhile_sees_every_row_once(engine: Engine, owner: Engine, location: str) -> None:
    done, wrong = threading.Event(), []
    began = threading.Barrier(4)

    def read(page: int) -> None:
        first = True
        while first or not done.is_set():
            positions = [row.position for row in rows_of(engine, page)]
            if any(b != a + 1 for a, b in pairwise([0, *positions])) or len(positions) < WHOLE:
                wrong.append(positions)
            if first:
                began.wait()
                first = False

    threads = [threading.Thread(target=read, args=(page,)) for page in (1, 9, 5_000)]
    for thread in threads:
        thread.start()
    began.wait()
    try:
        assert archived(owner, location, keep=0) == [0, 1, 2, 3]
        number = WHOLE
        while number < WHOLE + 150:
            with engine.begin() as connection:
                append(connection, [entry(str(number := number + 1))])
        assert archived(owner, location, keep=0) == [4]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_long_reader_keeps_its_partition_and_nobody_waits_for_long(
    engine: Engine, owner: Engine, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_archive, "_LOCK_MS", 50)
    monkeypatch.setattr(log_archive, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(log_archive, "_PAUSE_S", 0.05)
    with engine.connect() as long:
        assert len(read_rows(long, 0, 10)) == 10
        with pytest.raises(ArchiveError, match="stays in the database too"):
            archived(owner, location)
        assert [row.position for row in read_rows(long, 10, 80)] == list(range(11, 91))
    assert len(partitions(engine)) == 6
    assert archived(owner, location) == [0, 1, 2]


def test_a_transaction_from_before_is_told_to_begin_anew(
    engine: Engine, owner: Engine, location: str
) -> None:
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.execute(text("SELECT 1 FROM log_head"))
        archived(owner, location)
        for read in (lambda: read_rows(old, 0, 10), lambda: read_sources(old, 120, 10)):
            with pytest.raises(StaleSnapshotError, match="begin a new one"):
                read()
    assert len(rows_of(engine)) == WHOLE


def test_an_altered_partition_is_not_archived(
    engine: Engine, owner: Engine, location: str, database: str
) -> None:
    with owner.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE log SET state = 'x' WHERE position = 180"))
    with pytest.raises(ArchiveError, match="the row at position 180 was altered"):
        archived(owner, location)
    assert partitions(engine) == {"log_1", "log_2", "log_3", "log_4", "log_5"}


def test_a_store_that_gives_back_other_than_it_took_keeps_the_partition(
    engine: Engine, owner: Engine, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(url: str, partition: int, parts: list[Part]) -> None:
        replace_partition(url, partition, parts)
        alter(url, 42, {"state": b"x"})

    monkeypatch.setattr(log_archive, "replace_partition", bad)
    with pytest.raises(ArchiveError, match="reads back other than it was written"):
        archived(owner, location)
    assert len(partitions(engine)) == 6


def test_only_the_owner_archives_and_only_one_at_a_time(engine: Engine, owner: Engine, location: str) -> None:
    with pytest.raises(ArchiveError, match="ROUNDTRIP_DATABASE_OWNER_URL"):
        archived(engine, location)
    with owner.connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": log_archive._LEAD})
        with pytest.raises(ArchiveError, match="another `roundtrip log archive`"):
            archived(owner, location)
        other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": log_archive._LEAD})
    wait_until(lambda: archived(owner, location) == [0, 1, 2], "the lock to be free")
