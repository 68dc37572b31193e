"""A file that is read in a process of its own gives what it gives here, sealed or not, and its faults are told here."""

from __future__ import annotations

import gzip
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.files import open_file
from adapters.keys.local import new_master, parse_masters
from adapters.keys.management import KeyManagementError
from adapters.log.ahead import append_ahead, open_ahead
from adapters.log.append import append
from adapters.log.read import iterate
from domain.identifiers import VENDOR
from domain.identity_rules import Rules
from domain.records import Identifier, node_id
from feeds.blocks import BLOCK_ROWS
from feeds.mapping import Mapping
from feeds.rows import FileError
from runtime.import_batches import Batch, batches
from runtime.import_reader import WORTH_A_PROCESS, Reader
from runtime.import_reading import Asked, Reading, Sealing
from runtime.import_sealing import Ahead
from runtime.imports import run_import
from runtime.verify import verify_log
from tests.integration.importing import FEEDS, declare
from tests.keys import KEYS

MAPPING = Mapping.model_validate(
    {"identifiers": {"crm.card": "card", "user_id": "user"}, "values": {"plan": "plan"}}
)
RULES = Rules({"card": VENDOR})


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = [
        f"u-{number},c-{number},pro" + (",x" if number % 1_000 == 0 else "")
        for number in range(BLOCK_ROWS * 3)
    ]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["user,card,plan", *lines]))
    return path


def asked(path: Path, mapping: Mapping = MAPPING, after: int = 0) -> Asked:
    with open_file(str(path)) as opened:
        return Asked.of(opened, "crm", mapping, 1, after, RULES)


def in_the_clear(batch: Batch) -> Batch:
    return batch if batch.ahead is None else batch._replace(entries=open_ahead(batch.ahead), ahead=None)


class AtLeisure(Reader):
    """One that is asked for the next batch when it has nothing to do before that."""

    def batches(self, asked: Asked, ahead: Ahead | None = None) -> Iterator[Batch]:
        with Reading(asked) as reading:
            while (batch := reading.next(ahead.how if ahead else None)) is not None:
                yield batch
                while reading.go_on():
                    pass


def test_its_batches_are_those_that_are_read_here(reader: Reader, file: Path) -> None:
    for after in (0, BLOCK_ROWS + 7):
        with open_file(str(file)) as opened:
            here = list(batches(opened, "crm", MAPPING, 1, after, None, RULES))
        assert list(reader.batches(asked(file, after=after))) == here
    assert sum(len(batch.entries) + len(batch.rejected) for batch in here) == BLOCK_ROWS * 2 - 6


def test_what_is_sealed_ahead_is_what_is_read(file: Path, database: str, engine: Engine) -> None:
    with open_file(str(file)) as opened:
        here = list(batches(opened, "crm", MAPPING, 1, 0, None, RULES))
    known = here[1].entries[::2]
    with engine.begin() as connection:
        append(connection, [entry._replace(stream_id=entry.subject or "") for entry in known])
    sealing = asked(file)._replace(sealing=Sealing(database, KEYS))
    read = list(AtLeisure().batches(sealing, Ahead("any")))
    assert [batch.ahead is not None for batch in read] == [False, True, True]
    assert list(map(in_the_clear, read)) == here
    with engine.begin() as connection:
        assert read[1].ahead and append_ahead(connection, read[1].ahead)
        assert not append_ahead(connection, read[1].ahead)
    with engine.connect() as connection:
        added = list(iterate(connection, len(known)))
    assert [row.state for row in added] == [entry.state for entry in here[1].entries]


def test_a_key_that_cannot_be_had_is_told_of_by_its_own_words(
    file: Path, database: str, engine: Engine
) -> None:
    with open_file(str(file)) as opened:
        second = list(batches(opened, "crm", MAPPING, 1, 0, None, RULES))[1]
    with engine.begin() as connection:
        append(connection, [entry._replace(stream_id=entry.subject or "") for entry in second.entries[:1]])
    sealing = asked(file)._replace(sealing=Sealing(database, parse_masters(new_master())))
    with Reading(sealing) as reading:
        assert reading.next("any")
        # What fails while nobody asks ends no process, and is told to whoever asks.
        while reading.go_on():
            pass
        with pytest.raises(KeyManagementError, match="a data key was wrapped by master key"):
            reading.next("any")


def test_what_another_process_seals_is_what_is_read(reader: Reader, file: Path, database: str) -> None:
    with open_file(str(file)) as opened:
        here = list(batches(opened, "crm", MAPPING, 1, 0, None, RULES))
    sealing = asked(file)._replace(sealing=Sealing(database, KEYS))
    assert list(map(in_the_clear, reader.batches(sealing, Ahead("any")))) == here


def test_what_was_read_before_a_fault_is_given_before_it(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(BLOCK_ROWS * 3 * 40).hex()
    rows = [f"u-{n},c-{n},{noise[n * 80 : n * 80 + 80]}" for n in range(BLOCK_ROWS * 3)]
    path = tmp_path / "people.csv.gz"
    path.write_bytes(gzip.compress("\n".join(["user,card,plan", *rows]).encode(), 1)[:-40])
    read = AtLeisure().batches(asked(path))
    assert len(next(read).entries) == BLOCK_ROWS
    with pytest.raises(FileError, match="broke off"):
        list(read)


@pytest.mark.parametrize("there", ["people", "rows"])
def test_an_import_takes_everybody_in_where_some_were_taken_for_new_in_vain(
    file: Path, database: str, engine: Engine, there: str
) -> None:
    with open_file(str(file)) as opened:
        here = [
            entry for batch in batches(opened, "crm", MAPPING, 1, 0, None, RULES) for entry in batch.entries
        ]
    # The second of each batch is none of those that are asked for first.
    known = here[BLOCK_ROWS + 1 :: BLOCK_ROWS]
    with engine.begin() as connection:
        before = [
            entry._replace(stream_id=entry.subject or "") if there == "people" else entry for entry in known
        ]
        append(connection, before)
    with open_file(str(file)) as opened:
        done = run_import(
            engine, opened, "crm", MAPPING, 1, reader=AtLeisure(), aside=file.with_suffix(".aside")
        )
    fresh = here if there == "people" else [entry for entry in here if entry not in known]
    assert (done.taken, done.known) == (len(fresh), len(here) - len(fresh))
    with engine.connect() as connection:
        added = [row.state for row in iterate(connection, len(known))]
    assert added == [entry.state for entry in fresh]
    assert verify_log(database, lambda done, of: None).fault is None


def test_of_a_device_that_is_shared_the_log_says_who_its_user_was(
    reader: Reader, database: str, engine: Engine, tmp_path: Path
) -> None:
    declare(database, FEEDS | {"identity": {"shared_device": "most_recent_user"}})
    path, count = tmp_path / "visits.csv", BLOCK_ROWS * 2
    visits = [f"{n},{'ann' if n == 0 else ''},kiosk,{'x' * 100}" for n in range(count)]
    path.write_text("\n".join(["id,user,device,note", *visits]))
    mapping = Mapping.model_validate(
        {
            "type": "track",
            "event": "Seen",
            "id": "id",
            "identifiers": {"user_id": "user", "anonymous_id": "device"},
        }
    )
    with open_file(str(path)) as opened:
        assert opened.size >= WORTH_A_PROCESS
        run_import(engine, opened, "crm", mapping, 1, reader=reader)
    with engine.connect() as connection:
        subjects = Counter(row.subject for row in iterate(connection) if row.topic == "track.Seen")
    assert subjects == {node_id(Identifier("user_id", "ann")): count}


def test_it_reads_where_there_are_no_keys_to_be_had(reader: Reader, file: Path) -> None:
    with open_file(str(file)) as opened:
        here = list(batches(opened, "crm", MAPPING, 1, 0, None, RULES))
    nowhere = Sealing("postgresql+psycopg://127.0.0.1:1/none", KEYS)
    assert list(reader.batches(asked(file)._replace(sealing=nowhere), Ahead("any"))) == here


def test_a_file_that_cannot_be_read_is_told_of_and_the_next_is_read(reader: Reader, file: Path) -> None:
    wrong = Mapping.model_validate({"identifiers": {"user_id": "usr"}})
    with pytest.raises(FileError, match=rf"{file.name}: .*column 'usr'.*it has user, card, plan"):
        list(reader.batches(asked(file, wrong)))
    before = asked(file)
    file.write_text("user,card,plan\nu-1,c-1,free\n")
    with pytest.raises(FileError, match="was changed while it was imported"):
        list(reader.batches(before))
    [batch] = reader.batches(asked(file))
    assert len(batch.entries) == 1


def test_a_reader_that_is_killed_is_told_of(file: Path) -> None:
    with Reader() as reader, pytest.raises(FileError, match="the process that read it has ended"):
        read = reader.batches(asked(file))
        next(read)
        os.kill(reader.pid, signal.SIGKILL)
        list(read)
