"""Tailing and exporting the log: every row once, in order, in either format, and on as it grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from adapters.database import open_database
from adapters.log.append import append
from adapters.log.read import iterate
from domain.records import Entry, Identifier, Row, derive_id, node_id
from runtime import log_export
from runtime.commands.log import app
from runtime.log_export import ExportError, export_log
from runtime.log_tail import PlaceError, follow, place_of, subjects_of
from tests.integration.tampering import entry, fill, tampering
from tests.keys import KEYS

NODES = [node_id(Identifier("user_id", name)) for name in ("ann", "ann2", "bob")]


@pytest.fixture
def engine(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    for name, value in {"DATABASE_URL": database, "NATS_URL": "nats://unused", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(f"ROUNDTRIP_{name}", value)
    engine = open_database(database, application="test", keys=KEYS)
    yield engine
    engine.dispose()


def rows_of(engine: Engine) -> list[Row]:
    with engine.connect() as connection:
        return list(iterate(connection))


def told(*arguments: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["tail", *arguments])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_export_has_every_row_in_either_format(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_export, "CHUNK_ROWS", 7)
    fill(engine, 3, 1, 20)
    with engine.begin() as connection:
        append(
            connection,
            [
                entry("of", NODES[0]),
                Entry(derive_id("b"), 1, "bytes.x", None, b"\xff\x00"),
                Entry(derive_id("l"), 1, "lines.x", None, b'{"a":\n 1}'),
            ],
        )
    rows = rows_of(engine)
    for name in ("log.ndjson", "log.parquet"):
        assert CliRunner().invoke(app, ["export", str(tmp_path / name)]).exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "log.ndjson").read_text().splitlines()]
    assert [line["position"] for line in lines] == [row.position for row in rows]
    assert [line["subject"] for line in lines] == [row.subject for row in rows]
    assert lines[0]["state"] == json.loads(rows[0].state)
    assert lines[-2]["state_base64"] == "/wA="
    assert lines[-1]["state"] == {"a": 1}
    table = pq.read_table(tmp_path / "log.parquet").to_pylist()
    moment = [datetime.fromtimestamp(row.recorded_at / 1_000_000, UTC) for row in rows]
    assert table == [row._asdict() | {"recorded_at": at} for row, at in zip(rows, moment, strict=True)]
    assert not list(tmp_path.glob("*.part"))


def test_an_export_has_the_rows_asked_for(engine: Engine, tmp_path: Path) -> None:
    fill(engine, 5, 5)
    file = tmp_path / "some.ndjson"
    assert CliRunner().invoke(app, ["export", str(file), "--from", "3", "--to", "8"]).exit_code == 0
    assert [json.loads(line)["position"] for line in file.read_text().splitlines()] == [3, 4, 5, 6, 7, 8]


def test_an_export_has_one_persons_rows_or_one_kind(engine: Engine, tmp_path: Path) -> None:
    topics = [("track.a", NODES[0]), ("page.b", NODES[0]), ("track.c", NODES[2])]
    with engine.begin() as connection:
        append(connection, [Entry(derive_id(topic), 1, topic, of, b"{}") for topic, of in topics])
    for asked, positions in (
        (("--subject", "user_id:ann"), [1, 2]),
        (("--kind", "track"), [1, 3]),
        (("--subject", "user_id:ann", "--kind", "page"), [2]),
        (("--subject", "user_id:nobody"), []),
    ):
        for name, read in (
            ("some.ndjson", lambda file: map(json.loads, file.read_text().splitlines())),
            ("some.parquet", lambda file: pq.read_table(file).to_pylist()),
        ):
            assert CliRunner().invoke(app, ["export", str(tmp_path / name), *asked]).exit_code == 0
            assert [row["position"] for row in read(tmp_path / name)] == positions
    result = CliRunner().invoke(app, ["export", str(tmp_path / "none.ndjson"), "--kind", "trak"])
    assert "did you mean 'track'" in str(result.exception)
    assert not (tmp_path / "none.ndjson").exists()


def test_an_export_to_nowhere_is_refused_and_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"end it in .ndjson or .parquet"):
        export_log(engine, tmp_path / "log.csv", 1, 1, lambda at: None)
    with pytest.raises(ExportError, match="cannot be written"):
        export_log(engine, tmp_path / "none" / "log.ndjson", 1, 1, lambda at: None)


def test_a_time_is_the_first_position_recorded_then(engine: Engine, database: str) -> None:
    with tampering(database) as connection:
        connection.execute(text("UPDATE log_head SET clock = 'simulated'"))
    for second, size in enumerate((3, 1, 4), 1):
        with engine.begin() as connection:
            names = [entry(f"{second}.{n}") for n in range(size)]
            append(connection, names, advance_to=second * 1_000_000)
    with engine.connect() as connection:
        for said, position in [("00", 1), ("01", 1), ("02", 4), ("03", 5), ("04", 9)]:
            assert place_of(connection, f"1970-01-01T00:00:{said}Z") == position
        assert place_of(connection, "7") == 7
        for wrong in ("yesterday", "1970-01-01T00:00:00", "-1"):
            with pytest.raises(PlaceError, match="neither a position nor a time"):
                place_of(connection, wrong)


def test_a_tail_shows_the_end_or_goes_from_a_place(engine: Engine) -> None:
    fill(engine, 12, 3)
    assert [row["position"] for row in told()] == list(range(6, 16))
    assert [row["position"] for row in told("-n", "2")] == [14, 15]
    assert [row["position"] for row in told("--from", "13")] == [13, 14, 15]
    assert told("--from", "99") == []


def test_a_tail_shows_a_person_by_every_identifier(engine: Engine) -> None:
    profile = derive_id("profile", "ann")
    subjects = [*NODES, profile, None]
    with engine.begin() as connection:
        append(connection, [entry(str(n), subject) for n, subject in enumerate(subjects)])
        for node, of in zip(NODES, (profile, profile, derive_id("profile", "bob")), strict=True):
            connection.execute(text("INSERT INTO identity VALUES (:node, :of)"), {"node": node, "of": of})
        assert subjects_of(connection, "user_id:nobody") == {node_id(Identifier("user_id", "nobody"))}
        with pytest.raises(PlaceError, match="names nobody"):
            subjects_of(connection, "ann")
    assert [row["position"] for row in told("--from", "1", "--subject", "user_id:ann")] == [1, 2, 4]
    assert [row["position"] for row in told("--from", "1", "--subject", "user_id:bob")] == [3]


def test_a_tail_shows_one_kind(engine: Engine) -> None:
    topics = ["track.a", "page.b", "domain.configuration:Definition.Declared", "track.c"]
    with engine.begin() as connection:
        append(connection, [Entry(derive_id(topic), 1, topic, None, b"{}") for topic in topics])
    assert [row["position"] for row in told("--from", "1", "--kind", "track")] == [1, 4]
    assert [row["position"] for row in told("--from", "1", "--kind", "definition", "--kind", "page")] == [
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--kind", "trak"), "'trak' is no kind of row; did you mean 'track'? there are: alias, group, "),
        (
            ("--subject", "usr_id:ann"),
            "'usr_id' is no kind of identifier; did you mean 'user_id'? there are: ",
        ),
        (("--subject", "ann"), "'ann' names nobody; write KIND:VALUE"),
    ],
)
def test_a_misprint_is_refused_with_what_there_is(engine: Engine, asked: tuple[str, str], told: str) -> None:
    fill(engine, 1)
    result = CliRunner().invoke(app, ["tail", *asked])
    assert isinstance(result.exception, PlaceError)
    assert told in str(result.exception)


def test_what_may_yet_come_is_asked_for_in_vain_and_said_so(engine: Engine) -> None:
    fill(engine, 1)
    for asked in (("--kind", "import"), ("--subject", "email:Ann@Example.com")):
        result = CliRunner().invoke(app, ["tail", "--from", "1", *asked])
        assert (result.exit_code, result.stdout) == (0, "")
        assert "no such row from position 1 to the log's end" in result.stderr


def test_whoever_follows_gets_what_is_appended(engine: Engine) -> None:
    fill(engine, 2)
    rows = follow(engine, 0)
    assert [next(rows).position for _ in range(2)] == [1, 2]
    fill(engine, 3)
    assert [next(rows).position for _ in range(3)] == [3, 4, 5]
    rows.close()  # type: ignore[attr-defined]
