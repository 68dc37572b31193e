"""Appending: positions without a gap in order of commit, nothing twice, nothing changed, all in one chain."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from adapters.database import LOCK_TIMEOUT_MS, open_database
from adapters.log.append import Appended, ConflictError, append
from adapters.log.read import (
    driver_of,
    iterate,
    listen,
    read_head,
    read_positions,
    read_rows,
    wait_for_append,
)
from adapters.log.schema import PARTITION_ROWS
from domain.records import Entry, derive_id
from tests.integration.locks import waits_for_a_lock
from tests.keys import KEYS
from tests.servers import wait_until


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, application="test", keys=KEYS, pool_size=12)
    yield engine
    engine.dispose()


def entry(name: str, version: int = 1, subject: str | None = None) -> Entry:
    return Entry(derive_id("test", name), version, f"track.{name}", subject, name.encode())


def entries(*names: str) -> list[Entry]:
    return [entry(name) for name in names]


def positions(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [row.position for row in iterate(connection)]


def states(engine: Engine) -> list[bytes]:
    with engine.connect() as connection:
        return [row.state for row in iterate(connection)]


class Held:
    """A transaction in a thread of its own that has appended and keeps its commit for later."""

    def __init__(self, engine: Engine, *names: str) -> None:
        self._appended = threading.Event()
        self._finish = threading.Event()
        self._commit = True
        self._thread = threading.Thread(target=self._run, args=(engine, names), daemon=True)
        self._thread.start()

    def _run(self, engine: Engine, names: tuple[str, ...]) -> None:
        with engine.connect() as connection:
            append(connection, entries(*names))
            self._appended.set()
            self._finish.wait()
            if self._commit:
                connection.commit()

    def wait(self) -> None:
        assert self._appended.wait(10)

    @property
    def waits(self) -> bool:
        return not self._appended.is_set()

    def finish(self, *, commit: bool = True) -> None:
        self._commit = commit
        self._finish.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_positions_are_gapless_and_readers_never_skip_one_under_concurrent_writers(engine: Engine) -> None:
    writing = threading.Event()
    writing.set()

    def write(writer: int) -> None:
        for turn in range(25):
            with engine.connect() as connection:
                append(connection, entries(*(f"{writer}.{turn}.{n}" for n in range(1 + turn % 4))))
                if turn % 5 == 4:
                    connection.rollback()
                else:
                    connection.commit()

    def follow() -> list[int]:
        seen: list[int] = []
        while True:
            last_look = not writing.is_set()
            with engine.connect() as connection:
                rows = read_rows(connection, seen[-1] if seen else 0, 7)
            seen += [row.position for row in rows]
            if last_look and not rows:
                return seen

    with ThreadPoolExecutor(10) as threads:
        readers = [threads.submit(follow) for _ in range(2)]
        for writer in [threads.submit(write, number) for number in range(8)]:
            writer.result()
        writing.clear()
        seen = [reader.result() for reader in readers]

    committed = 8 * sum(1 + turn % 4 for turn in range(25) if turn % 5 != 4)
    assert positions(engine) == list(range(1, committed + 1))
    assert seen == [list(range(1, committed + 1))] * 2


def test_an_append_waits_for_a_slow_commit_and_comes_after_it(engine: Engine, owner: Engine) -> None:
    slow = Held(engine, "a", "b")
    slow.wait()
    quick = Held(engine, "c")
    wait_until(waits_for_a_lock(owner), "the second append to wait for the first")
    assert quick.waits
    assert positions(engine) == []
    slow.finish()
    quick.wait()
    assert states(engine) == [b"a", b"b"]
    quick.finish()
    assert states(engine) == [b"a", b"b", b"c"]
    assert positions(engine) == [1, 2, 3]


def test_a_rollback_leaves_no_gap(engine: Engine, owner: Engine) -> None:
    lost = Held(engine, "a", "b")
    lost.wait()
    kept = Held(engine, "c")
    wait_until(waits_for_a_lock(owner), "the second append to wait for the first")
    lost.finish(commit=False)
    kept.wait()
    kept.finish()
    with engine.connect() as connection:
        assert [(row.position, row.state) for row in iterate(connection)] == [(1, b"c")]
        assert read_head(connection).position == 1


def test_an_append_that_waited_for_another_of_the_same_finds_it(engine: Engine, owner: Engine) -> None:
    def again() -> list[Appended]:
        with engine.begin() as connection:
            return append(connection, entries("c", "a")).appended

    first = Held(engine, "a", "b")
    first.wait()
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(again)
        wait_until(waits_for_a_lock(owner), "the second append to wait for the first")
        first.finish()
        assert second.result() == [Appended(3, True), Appended(1, False)]
    assert states(engine) == [b"a", b"b", b"c"]


def test_an_append_is_in_the_transaction_that_its_connection_commits(engine: Engine) -> None:
    with engine.connect() as connection:
        append(connection, entries("a"))
        connection.rollback()
        append(connection, entries("b"))
        connection.commit()
    assert states(engine) == [b"b"]


def test_a_killed_writer_leaves_no_gap(engine: Engine, owner: Engine) -> None:
    with engine.connect() as doomed:
        append(doomed, entries("a"))
        process = driver_of(doomed).info.backend_pid
        with owner.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": process})
        with engine.begin() as connection:
            assert append(connection, entries("b")).appended == [Appended(1, True)]
        doomed.invalidate()
    assert states(engine) == [b"b"]


def test_a_duplicate_is_a_no_op_that_tells_the_first_position(engine: Engine) -> None:
    with engine.begin() as connection:
        append(connection, entries("a", "b"))
    with engine.begin() as connection:
        batch = append(connection, entries("b", "c", "a"))
    assert batch.appended == [Appended(2, False), Appended(3, True), Appended(1, False)]
    assert batch.last_position == 3
    assert states(engine) == [b"a", b"b", b"c"]


def test_a_duplicate_within_a_batch_is_appended_once(engine: Engine) -> None:
    with engine.begin() as connection:
        batch = append(connection, entries("a", "a", "b", "a"))
    assert batch.appended == [Appended(1, True), Appended(1, False), Appended(2, True), Appended(1, False)]
    assert states(engine) == [b"a", b"b"]


@pytest.mark.parametrize("known", [[0], [1], [4_999], [1, 2, 3_000], list(range(5_000))])
def test_duplicates_in_a_large_batch_are_found_wherever_they_are(engine: Engine, known: list[int]) -> None:
    names = [f"n{number}" for number in range(5_000)]
    with engine.begin() as connection:
        append(connection, entries(*(names[number] for number in known)))
    with engine.begin() as connection:
        batch = append(connection, entries(*names))
    places = {number: place for place, number in enumerate(known, 1)}
    after = iter(range(len(known) + 1, 5_001))
    assert batch.appended == [
        Appended(places[n], False) if n in places else Appended(next(after), True) for n in range(5_000)
    ]
    assert batch.last_position == 5_000
    assert positions(engine) == list(range(1, 5_001))


def test_a_duplicate_within_a_large_batch_is_appended_once(engine: Engine) -> None:
    names = [f"n{number}" for number in range(1_000)]
    names[700] = names[3]
    with engine.begin() as connection:
        batch = append(connection, entries(*names))
    assert batch.appended[700] == Appended(4, False)
    assert batch.appended[701] == Appended(701, True)
    assert positions(engine) == list(range(1, 1_000))
    with pytest.raises(ConflictError), engine.begin() as connection:
        append(connection, entries(*(f"{name}-again" for name in names)), must_be_new=True)


def test_a_large_batch_that_must_be_new_is_refused_whole(engine: Engine) -> None:
    names = [f"n{number}" for number in range(1_000)]
    with engine.begin() as connection:
        append(connection, entries(names[1]))
    with pytest.raises(ConflictError, match="has a version 1 already"), engine.begin() as connection:
        append(connection, entries(*names), must_be_new=True)
    assert positions(engine) == [1]


def test_a_batch_of_nothing_new_leaves_the_chain_as_it_was(engine: Engine) -> None:
    with engine.begin() as connection:
        append(connection, entries("a"))
    with engine.begin() as connection:
        assert append(connection, entries("a")).appended == [Appended(1, False)]
        assert append(connection, []).appended == []
        assert connection.execute(text("SELECT count(*) FROM log_batch")).scalar() == 1


def test_versions_of_one_stream_are_told_apart(engine: Engine) -> None:
    with engine.begin() as connection:
        append(connection, [entry("a", version) for version in (1, 2, 1000)])
    with engine.begin() as connection:
        batch = append(connection, [entry("a", 1000), entry("a", 3), entry("b", 1)])
    assert batch.appended == [Appended(3, False), Appended(4, True), Appended(5, True)]


def test_a_version_that_must_be_new_is_refused_where_it_stands(engine: Engine) -> None:
    with engine.begin() as connection:
        append(connection, entries("a"))
    with pytest.raises(ConflictError, match="has a version 1 already"), engine.begin() as connection:
        append(connection, entries("b", "a"), must_be_new=True)
    assert states(engine) == [b"a"]


def test_a_row_is_read_as_it_was_appended(engine: Engine) -> None:
    subject = derive_id("subject", "s")
    with engine.begin() as connection:
        batch = append(connection, [entry("Grüße", 7, subject), entry("")])
        row, empty = read_positions(connection, [1, 2])
    assert row == (1, *entry("Grüße", 7, subject)[:4], batch.recorded_at, "Grüße".encode())
    assert empty.state == b""
    assert empty.subject is None


@pytest.mark.parametrize("statement", ["UPDATE {} SET state = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
def test_a_change_is_refused_even_to_the_owner(engine: Engine, owner: Engine, statement: str) -> None:
    with engine.begin() as connection:
        append(connection, entries("a"))
    far_behind(owner, PARTITION_ROWS)
    with engine.begin() as connection:
        append(connection, entries("b"))
    for table in ("log", "log_0", "log_1"):
        with pytest.raises(IntegrityError, match="the log is append-only"), owner.connect() as connection:
            connection.execute(text(statement.format(table)))
    assert states(engine) == [b"a", b"b"]


def test_the_chain_is_the_digest_of_the_rows_as_the_database_gives_them(engine: Engine) -> None:
    batches = [("a", "b"), ("b", "c"), ("d",), [f"n{number}" for number in range(600)]]
    for names in batches:
        with engine.begin() as connection:
            append(connection, [entry(name, subject=derive_id("subject", name)) for name in names])
    with engine.begin() as connection:
        append(connection, entries("nobody's"))
        held = connection.execute(
            text("SELECT first_position, last_position, digest FROM log_batch ORDER BY last_position")
        ).all()
        digest = b""
        for first, last, kept in held:
            digest = hashlib.sha256(digest + copied(connection, first, last)).digest()
            assert digest == kept
        assert [(first, last) for first, last, _ in held] == [(1, 2), (3, 3), (4, 4), (5, 604), (605, 605)]
        assert connection.execute(text("SELECT digest FROM log_head")).scalar() == digest


def copied(connection: Connection, first: int, last: int) -> bytes:
    """These rows in PostgreSQL's own binary format, without the file's header and trailer."""
    query = f"SELECT * FROM log WHERE position BETWEEN {first} AND {last} ORDER BY position"
    with driver_of(connection).cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
        return b"".join(bytes(block) for block in copy)[19:-2]


def test_a_simulated_clock_stands_still_between_ticks_and_never_goes_back(
    engine: Engine, owner: Engine
) -> None:
    with owner.connect() as connection:
        connection.execute(text("UPDATE log_head SET clock = 'simulated'"))
    stamped = []
    for name, tick in [("a", None), ("b", 5_000_000), ("c", None), ("d", 4_000_000), ("e", 6_000_000)]:
        with engine.begin() as connection:
            stamped.append(append(connection, entries(name), advance_to=tick).recorded_at)
    assert stamped == [0, 5_000_000, 5_000_000, 5_000_000, 6_000_000]
    with engine.connect() as connection:
        assert [row.recorded_at for row in iterate(connection)] == stamped
        assert read_head(connection) == (5, 6_000_000, "simulated")


def test_the_wall_clock_never_goes_back(engine: Engine, owner: Engine) -> None:
    ahead = 2**52
    with owner.connect() as connection:
        connection.execute(text("UPDATE log_head SET recorded_at = :ahead"), {"ahead": ahead})
    with engine.begin() as connection:
        assert append(connection, entries("a")).recorded_at == ahead


def test_waiting_for_the_lock_is_bounded(engine: Engine) -> None:
    with engine.connect() as connection:
        held = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar()
        assert held == f"{LOCK_TIMEOUT_MS // 1000}s"
    slow = Held(engine, "a")
    slow.wait()
    try:
        with engine.connect() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                append(connection, entries("b"))
    finally:
        slow.finish()
    assert states(engine) == [b"a"]


def test_whoever_listens_is_told_after_the_commit_and_not_before(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listener:
        listen(listener)
        slow = Held(engine, "a")
        slow.wait()
        assert not wait_for_append(listener, 0.05)
        slow.finish()
        assert wait_for_append(listener, 10)


def test_whoever_has_read_up_to_a_position_is_told_of_what_is_beyond_it(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as listener:
        listen(listener)
        with engine.begin() as connection:
            read = append(connection, entries("a", "b")).last_position
        assert not wait_for_append(listener, 0.05, read)
        with engine.begin() as connection:
            append(connection, entries("c"))
        assert wait_for_append(listener, 10, read)


def test_a_batch_across_partitions_is_one_batch_and_the_next_partition_is_there(
    engine: Engine, owner: Engine
) -> None:
    far_behind(owner, PARTITION_ROWS - 2)
    with engine.begin() as connection:
        append(connection, entries("a", "b", "c"))
    border = PARTITION_ROWS
    with owner.connect() as connection:
        rows = connection.execute(
            text("SELECT tableoid::regclass::text, position FROM log ORDER BY position")
        )
        assert rows.all() == [("log_0", border - 1), ("log_1", border), ("log_1", border + 1)]
        assert connection.execute(text("SELECT to_regclass('log_2')::text")).scalar() == "log_2"


def test_a_reader_does_not_keep_the_log_from_its_next_partition(engine: Engine, owner: Engine) -> None:
    far_behind(owner, PARTITION_ROWS - 1)
    with engine.connect() as reader:
        assert read_rows(reader, 0, 1) == []
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            append(connection, entries("a"))
    assert positions(engine) == [PARTITION_ROWS]


def far_behind(owner: Engine, position: int) -> None:
    """Has the next append continue from this position, as if so many rows were there."""
    with owner.connect() as connection:
        connection.execute(text("UPDATE log_head SET position = :position"), {"position": position})


def test_many_writers_of_the_same_records_append_each_once(engine: Engine) -> None:
    names = [os.urandom(4).hex() for _ in range(50)]

    def write(_: int) -> list[Appended]:
        with engine.begin() as connection:
            return append(connection, entries(*names)).appended

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(write, range(16)))
    assert states(engine) == [name.encode() for name in names]
    assert all([each.position for each in answer] == list(range(1, 51)) for answer in answers)
    assert sum(each.new for answer in answers for each in answer) == 50
