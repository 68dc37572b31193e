"""Verifying the log: whatever its owner does to it behind the triggers is found and named."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from adapters.database import open_database
from adapters.log.append import append
from adapters.log.chain import ChainHead, read_chain_head, read_chain_heads
from adapters.log.witness import WitnessError, line_of, read_witness
from runtime import verify as verifying
from runtime.commands.log import app
from runtime.verify import Verified, VerifyEndedError, verify_log
from tests.integration.tampering import entry, fill, tampering
from tests.keys import KEYS

SIZES = (4, 1, 5, 1, 1, 8)
WHOLE = sum(SIZES)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, application="test", keys=KEYS)
    fill(engine, *SIZES)
    yield engine
    engine.dispose()


def verified(database: str, first: int = 1, last: int | None = None, jobs: int = 1) -> Verified:
    return verify_log(database, lambda done, of: None, first=first, last=last, jobs=jobs)


def tamper(database: str, *statements: str) -> None:
    with tampering(database) as connection:
        for statement in statements:
            connection.execute(text(statement))


def heads(engine: Engine) -> list[ChainHead]:
    with engine.begin() as connection:
        return list(read_chain_heads(connection))


@pytest.mark.usefixtures("engine")
def test_a_log_that_nobody_touched_holds_together(database: str) -> None:
    told: list[tuple[int, int]] = []
    found = verify_log(database, lambda done, of: told.append((done, of)))
    assert (found.rows, found.batches, found.fault) == (WHOLE, len(SIZES), None)
    assert found.head.position == WHOLE
    assert told[-1] == (WHOLE, WHOLE)


def test_an_empty_log_holds_together(database: str) -> None:
    found = verified(database)
    assert (found.rows, found.batches, found.fault, found.head.position) == (0, 0, None, 0)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("statements", "kind", "position", "batch"),
    [
        (["UPDATE log SET state = 'x' WHERE position = 7"], "altered", 7, (6, 10)),
        (["UPDATE log SET topic = 'x' WHERE position IN (9, 15)"], "altered", 9, (6, 10)),
        (["UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 11"], "altered", 11, (11, 11)),
        (["UPDATE log SET subject = stream_id WHERE position = 20"], "altered", 20, (13, 20)),
        (["DELETE FROM log WHERE position = 3"], "missing", 3, (1, 4)),
        (["DELETE FROM log WHERE position >= 19"], "missing", 19, (13, 20)),
        (["DELETE FROM log WHERE position = 11"], "missing", 11, (11, 11)),
        (["DELETE FROM log_batch WHERE last_position = 10"], "missing", 6, (11, 11)),
        (["DELETE FROM log_batch WHERE last_position = 20"], "missing", 13, None),
        (["UPDATE log_batch SET digest = sha256('x') WHERE last_position = 10"], "altered", 6, (6, 10)),
        (["UPDATE log_head SET digest = sha256('x')"], "altered", 20, None),
        (
            ["INSERT INTO log SELECT 21, stream_id, 2, topic, subject, recorded_at, state FROM log LIMIT 1"],
            "added",
            21,
            None,
        ),
    ],
)
def test_what_was_done_to_the_log_is_named(
    database: str, statements: list[str], kind: str, position: int, batch: tuple[int, int] | None
) -> None:
    tamper(database, *statements)
    fault = verified(database).fault
    assert fault is not None
    assert (fault.kind, fault.position, fault.batch) == (kind, position, batch)


SWAP = """
    UPDATE log SET stream_id = other.stream_id, topic = other.topic, state = other.state,
                   subject = other.subject, version = other.version, recorded_at = {recorded_at}
    FROM log AS other WHERE (log.position, other.position) IN (({a}, {b}), ({b}, {a}))
"""


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("a", "b", "batch", "index_too"),
    [(7, 9, (6, 10), False), (2, 12, (1, 4), False), (7, 9, (6, 10), True)],
)
def test_rows_that_changed_places_are_named(
    database: str, a: int, b: int, batch: tuple[int, int], index_too: bool
) -> None:
    tamper(database, SWAP.format(a=a, b=b, recorded_at="log.recorded_at"))
    if index_too:
        tamper(
            database, f"UPDATE log_stream SET position = {a} + {b} - position WHERE position IN ({a}, {b})"
        )
    fault = verified(database).fault
    assert fault is not None
    assert (fault.kind, fault.position, fault.batch) == ("reordered", a, batch)
    assert f"appended at position {b}" in fault.what


@pytest.mark.usefixtures("engine")
def test_a_batch_without_checks_is_named_as_a_whole(database: str) -> None:
    tamper(database, "UPDATE log_batch SET checks = NULL", "UPDATE log SET state = 'x' WHERE position = 7")
    fault = verified(database).fault
    assert fault is not None
    assert (fault.kind, fault.position, fault.batch) == ("altered", 6, (6, 10))
    assert "one of the rows at positions 6 to 10" in fault.what


@pytest.mark.usefixtures("engine")
def test_only_the_batches_asked_for_are_verified(database: str) -> None:
    tamper(database, "UPDATE log SET state = 'x' WHERE position IN (2, 18)")
    found = verified(database, first=7, last=11)
    assert (found.rows, found.batches, found.fault) == (6, 2, None)
    assert found.head.position == 11
    fault = verified(database, first=5).fault
    assert fault is not None
    assert fault.position == 18


@pytest.mark.usefixtures("engine")
def test_processes_side_by_side_find_the_same(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "STRETCH_ROWS", 3)
    assert verified(database, jobs=2).fault is None
    assert verified(database, jobs=2)[:2] == (WHOLE, len(SIZES))
    tamper(database, "UPDATE log SET state = 'x' WHERE position IN (7, 18)")
    fault = verified(database, jobs=2).fault
    assert fault is not None
    assert (fault.kind, fault.position) == ("altered", 7)


@pytest.mark.usefixtures("engine")
def test_a_process_that_is_killed_ends_it_with_words(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "STRETCH_ROWS", 1)
    monkeypatch.setattr(verifying, "_check", _killed)
    with pytest.raises(VerifyEndedError, match="one of the 2 processes that verified the log was killed"):
        verified(database, jobs=2)


def _killed(stretch: tuple[int, int]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_witness_sees_a_history_that_was_cut_off(database: str, engine: Engine) -> None:
    seen = heads(engine)
    tamper(
        database,
        "DELETE FROM log WHERE position > 12",
        "DELETE FROM log_stream WHERE position > 12",
        "DELETE FROM log_batch WHERE last_position > 12",
        "UPDATE log_head SET (position, digest) = (SELECT last_position, digest FROM log_batch"
        " ORDER BY 1 DESC LIMIT 1)",
    )
    assert verified(database).fault is None
    fault = verify_log(database, lambda done, of: None, witnessed=seen).fault
    assert fault is not None
    assert (fault.kind, fault.position) == ("truncated", 13)


def test_a_witness_sees_a_history_that_was_written_anew(database: str, engine: Engine) -> None:
    seen = heads(engine)
    tamper(
        database,
        "TRUNCATE log, log_stream, log_batch",
        "UPDATE log_head SET position = 0, digest = ''",
    )
    fill(engine, *SIZES[:2])
    with engine.begin() as connection:
        append(connection, [entry("another", None) for _ in range(1)])
    fill(engine, 14)
    assert verified(database).fault is None
    fault = verify_log(database, lambda done, of: None, witnessed=seen).fault
    assert fault is not None
    assert (fault.kind, fault.position) == ("rewritten", 4)


def test_the_command_tells_the_head_and_takes_a_witness(
    database: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATABASE_URL": database, "NATS_URL": "nats://unused", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(f"ROUNDTRIP_{name}", value)
    witness = tmp_path / "heads.ndjson"
    assert CliRunner().invoke(app, ["heads", str(witness)]).exit_code == 0
    assert list(read_witness(witness)) == heads(engine)
    last = CliRunner().invoke(app, ["heads", "--last"])
    fill(engine, 3)
    with engine.begin() as connection:
        head = read_chain_head(connection)
    assert last.stdout.strip() == line_of(list(read_witness(witness))[-1])
    result = CliRunner().invoke(app, ["verify", "--witness", str(witness), "--jobs", "1"])
    assert (result.exit_code, result.stdout) == (0, f"{head.position} {head.digest.hex()}\n")
    tamper(database, "UPDATE log SET state = 'x' WHERE position = 7")
    result = CliRunner().invoke(app, ["verify", "--jobs", "1"])
    assert result.exit_code == 1
    assert result.stdout.startswith("altered at position 7: ")
    assert "(batch 6 to 10)" in result.stdout


def test_a_witness_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "heads.ndjson"
    file.write_text('{"position": 1}\n')
    with pytest.raises(WitnessError, match="line 1 is not a head"):
        list(read_witness(file))
    with pytest.raises(WitnessError, match="cannot be read"):
        list(read_witness(tmp_path / "none"))


def test_a_part_that_ends_before_it_begins_is_refused() -> None:
    refused = CliRunner().invoke(app, ["verify", "--from", "500", "--to", "100"])
    assert refused.exit_code == 2
    assert "100 lies before --from 500" in refused.output
