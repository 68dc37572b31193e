"""The history in the lake: written once, asked in bulk, and in agreement with what the stream says."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from adapters.history.tables import History, tables_of
from adapters.log.append import append
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.people import load_profiles
from domain.audiences.definition import Audience
from domain.erasure import EraseRequest, request_entry
from domain.records import ConsentTerms, Entry, Identifier, Record, RecordType, derive_id, entry_of
from domain.workspace import Workspace
from runtime.audiences.bulk import history_now
from runtime.cli import app_for
from runtime.definitions import Definitions, WorkspaceError, apply_workspace, open_definitions
from runtime.history import HistoryWriter
from runtime.pipeline import Pipeline, drain
from runtime.profiles import NobodyError

HOUR = 3_600_000_000
AUDIENCES: dict[str, Any] = {
    "bought_twice": {
        "match": {"event": "Order Completed", "at_least": 2, "where": {"total": {"at_least": 10}}}
    },
    "recent": {"match": {"event": "Order Completed", "within": "1d"}},
    "spent": {"match": {"event": "Order Completed", "sum": "total", "at_least": 60}},
    "ignored": {
        "match": {"event": "Push Sent", "then_none": [{"event": "Push Opened", "same": "id"}], "within": "2h"}
    },
    "pros": {"match": {"attribute": "plan", "is": "pro"}},
    "told": {
        "match": {"all": [{"consent": "push"}, {"not": {"in_audience": "recent"}}]},
        "exclude": ["spent"],
    },
    "first": {"match": {"event": "Order Completed", "first": {"before": "1d"}}},
    "half": {"match": {"split": "test", "share": 50}},
}
WORKSPACE = {
    "workspace": "test",
    "clock": "simulated",
    "feeds": {
        "app": {"format": "files", "priority": 1},
        "crm": {"format": "files", "priority": 2},
    },
    "audiences": AUDIENCES,
}


def entries(count: int, seed: int) -> Iterator[tuple[int, Entry]]:
    """Log times and records of forty people on shared devices, some of whom turn out to be one."""
    draw, now = random.Random(seed), HOUR
    for number in range(count):
        now += draw.choice([0, 1, HOUR // 7, HOUR])
        person, device = draw.randrange(40), draw.randrange(25)
        kind: RecordType = draw.choice(["track", "track", "track", "identify"])
        known = [Identifier("anonymous_id", f"device-{device}")]
        if draw.random() < 0.4:
            known.insert(0, Identifier("user_id", f"user-{person}"))
        body: dict[str, Any] = {}
        if kind == "track":
            body = {"properties": {"total": draw.choice([5, 10.5, 40]), "id": str(draw.randrange(5))}}
        else:
            body = {"traits": {"plan": draw.choice(["pro", "free"]), "age": draw.randrange(15, 30)}}
        yield (
            now,
            entry_of(
                Record(
                    feed=draw.choice(["app", "crm"]),
                    message_id=f"m-{seed}-{number}",
                    type=kind,
                    name=draw.choice(["Order Completed", "Push Sent", "Push Opened"])
                    if kind == "track"
                    else "",
                    occurred_at=now - draw.choice([0, 0, HOUR]),
                    identifiers=tuple(known),
                    body=msgspec.Raw(msgspec.json.encode(body)),
                    properties_at="properties" if kind == "track" else "",
                    traits_at="traits" if kind == "identify" else "",
                    consent={"push": draw.random() < 0.6} if draw.random() < 0.1 else {},
                    consent_terms={"push": ConsentTerms(jurisdiction="gdpr", document="ab"[number % 2])},
                )
            ),
        )


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
        yield definitions


def take_in(engine: Engine, definitions: Definitions, count: int, seed: int) -> None:
    for at, entry in entries(count, seed):
        with engine.begin() as connection:
            append(connection, [entry], advance_to=at + seed * 1_000 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)


def stream(engine: Engine) -> dict[str, set[str]]:
    members: dict[str, set[str]] = {name: set() for name in AUDIENCES}
    with engine.connect() as connection:
        for audience, profile in connection.execute(text("SELECT audience, profile::text FROM membership")):
            members[audience].add(profile)
    return members


def bulk(engine: Engine, definitions: Definitions, history: History) -> dict[str, set[str]]:
    audiences = {name: Audience.model_validate(body) for name, body in AUDIENCES.items()}
    with history_now(engine, definitions, history, lambda what, done: None) as now:
        return {
            name: {profile for (profile,) in now.duck.execute(now.members(audiences, name)).fetchall()}
            for name in audiences
        }


def rows(history: History) -> int:
    return sum(pq.read_metadata(file).num_rows for files in history.files().values() for file in files)


def test_bulk_agrees_with_the_stream_wherever_the_lake_stands(
    engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    history = History(str(tmp_path))
    take_in(engine, definitions, 300, seed=1)
    assert any(stream(engine).values())
    assert bulk(engine, definitions, history) == stream(engine)
    writer = HistoryWriter(engine, definitions, history)
    assert writer.turn() > 0
    assert writer.turn() == 0
    assert bulk(engine, definitions, history) == stream(engine)
    # People of the second lot turn out to be people of the first: nothing written is written anew.
    take_in(engine, definitions, 200, seed=2)
    assert bulk(engine, definitions, history) == stream(engine)
    before = rows(history)
    writer.turn()
    assert rows(history) > before
    assert bulk(engine, definitions, history) == stream(engine)


def test_the_lake_has_what_each_consent_was_said_under_also_behind_an_earlier_versions_rows(
    engine: Engine, definitions: Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(str(tmp_path))
    terms = ["feed", "jurisdiction", "document"]

    def of_an_earlier_version(rows: Any) -> dict[str, Any]:
        tables = tables_of(rows)
        return tables | {"consents": tables["consents"].drop_columns(terms)}

    take_in(engine, definitions, 150, seed=6)
    with monkeypatch.context() as patch:
        patch.setattr("adapters.history.tables.tables_of", of_an_earlier_version)
        HistoryWriter(engine, definitions, history).turn()
    take_in(engine, definitions, 300, seed=7)
    assert bulk(engine, definitions, history) == stream(engine)
    HistoryWriter(engine, definitions, history).turn()
    assert bulk(engine, definitions, history) == stream(engine)
    history.compact()
    with history_now(engine, definitions, history, lambda what, done: None) as now:
        newest = now.duck.execute(
            "SELECT profile::text, purpose, given, occurred_at, position, c.feed, jurisdiction, document"
            " FROM consents c JOIN identity USING (node) JOIN person USING (who)"
            " QUALIFY row_number() OVER (PARTITION BY who, purpose ORDER BY occurred_at DESC, position DESC) = 1"
        ).fetchall()
    with engine.connect() as connection:
        people = load_profiles(connection, {profile for profile, *_ in newest})
    held = {(id, purpose, *consent) for id, one in people.items() for purpose, consent in one.consent.items()}
    blank = [row for row in newest if row[5] is None]
    assert 0 < len(blank) < len(newest)
    assert {(*row[:5], "", "", "") for row in blank} == {(*one[:5], "", "", "") for one in held - set(newest)}


def test_a_writer_killed_between_two_tables_writes_no_row_twice(
    engine: Engine, definitions: Definitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(str(tmp_path))
    take_in(engine, definitions, 150, seed=3)
    whole = History(str(tmp_path / "whole"))
    HistoryWriter(engine, definitions, whole).turn()

    written: list[str] = []

    def killed(self: History, name: str, *rest: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(name)
        unbroken(self, name, *rest)

    unbroken = History._append
    with monkeypatch.context() as patch:
        patch.setattr(History, "_append", killed)
        with pytest.raises(KeyboardInterrupt):
            HistoryWriter(engine, definitions, history).turn()
    assert 0 < rows(history) < rows(whole)
    HistoryWriter(engine, definitions, history).turn()
    assert rows(history) == rows(whole)
    assert bulk(engine, definitions, history) == stream(engine)


def test_an_erasure_waits_for_no_more_rows(engine: Engine, definitions: Definitions, tmp_path: Path) -> None:
    writer = HistoryWriter(engine, definitions, History(str(tmp_path)))
    take_in(engine, definitions, 20, seed=4)
    assert writer.pending().positions > 0
    assert not writer.pending().erased
    writer.turn()
    with engine.begin() as connection:
        node = connection.execute(text("SELECT node::text FROM identity LIMIT 1")).scalar_one()
        append(connection, [request_entry(EraseRequest(id=derive_id("e"), node=node, asked_by="0" * 64))])
    assert not writer.pending().erased
    drain(Pipeline(engine, definitions), 2**62)
    assert writer.pending().erased
    writer.turn()
    assert writer.pending() == (0, False)


def test_who_is_erased_is_in_no_file(engine: Engine, definitions: Definitions, tmp_path: Path) -> None:
    history = History(str(tmp_path))
    take_in(engine, definitions, 150, seed=4)
    HistoryWriter(engine, definitions, history).turn()
    with engine.connect() as connection:
        nodes = {node for (node,) in connection.execute(text("SELECT node::text FROM identity LIMIT 10"))}
    before = rows(history)
    gone = history.erase(nodes)
    assert 0 < gone == before - rows(history)
    held = b"".join(file.read_bytes() for file in tmp_path.rglob("*.parquet"))
    assert not any(node.encode() in held for node in nodes)


@pytest.fixture
def run(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`roundtrip audience …` on this database and a lake of its own."""
    monkeypatch.setenv("ROUNDTRIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROUNDTRIP_DATABASE_URL", database)
    monkeypatch.setenv("ROUNDTRIP_NATS_URL", "nats://127.0.0.1:4222")

    def run(*words: object) -> Result:
        arguments = ["audience", *map(str, words)]
        return CliRunner().invoke(app_for(arguments), arguments, catch_exceptions=False)

    return run


def test_an_audience_is_previewed_before_it_is_declared(
    engine: Engine, definitions: Definitions, tmp_path: Path, run: Any
) -> None:
    take_in(engine, definitions, 200, seed=5)
    file = tmp_path / "new.yaml"
    file.write_text("renamed: {match: {in_audience: bought_twice}}\nnobody: {match: {event: Never}}\n")
    told = run("preview", file, "--sample", 3).stdout
    size = len(stream(engine)["bought_twice"])
    assert f"renamed: {size:,} (" in told
    assert "nobody: 0" in told
    row = next(line for line in told.splitlines() if "bought_twice" in line)
    assert row.count(str(size)) >= 2
    assert "100.0%" in row
    file.write_text("renamed: {match: {in_audiences: bought_twice}}\n")
    with pytest.raises(WorkspaceError, match=r"new\.yaml:1: renamed.match: .*did you mean 'in_audience'"):
        run("preview", file)


def test_members_are_exported_now_and_as_of_any_position(
    engine: Engine, definitions: Definitions, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So few at a time that there are several pages.
    monkeypatch.setattr("runtime.audiences.export.PAGE", 4)
    take_in(engine, definitions, 150, seed=6)
    with engine.connect() as connection:
        then = read_checkpoint(connection, "pipeline")
    before = stream(engine)["told"]
    take_in(engine, definitions, 150, seed=7)
    after = stream(engine)["told"]
    assert before != after

    file = tmp_path / "told.csv"
    run("export", "told", "--to", file, "--field", "plan=attribute.plan", "--field", "id=identifier.user_id")
    with file.open() as lines:
        told = list(csv.DictReader(lines))
    assert len(after) > 4
    assert [row["profile"] for row in told] == sorted(after)
    assert {row["plan"] for row in told} <= {"pro", "free", ""}
    assert any(row["id"].startswith("user-") for row in told)

    for suffix, read in (
        (".ndjson", lambda file: [json.loads(line) for line in file.read_text().splitlines()]),
        (".parquet", lambda file: pq.read_table(file).to_pylist()),
    ):
        file = tmp_path / f"told{suffix}"
        run("export", "told", "--to", file, "--as-of", then)
        assert {row["profile"] for row in read(file)} == before

    members = [json.loads(line) for line in run("members", "told", "--as-of", then).stdout.splitlines()]
    assert {row["profile"] for row in members} == before
    sizes = [json.loads(line) for line in run("size", "told", "--every", "1d").stdout.splitlines()]
    times = [datetime.fromisoformat(one["at"]) for one in sizes]
    assert times == sorted(set(times))
    with engine.connect() as connection:
        query = text("SELECT recorded_at FROM log WHERE position = :position")
        now = connection.execute(query, {"position": read_checkpoint(connection, "pipeline")}).scalar_one()
    assert (sizes[-1]["size"], round(times[-1].timestamp() * 1_000_000)) == (len(after), now)
    assert all(one.time() == time(0) for one in times[:-1])
    assert len(before) in {one["size"] for one in sizes}


def test_a_membership_is_explained_clause_by_clause(
    engine: Engine, definitions: Definitions, run: Any
) -> None:
    take_in(engine, definitions, 200, seed=8)
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT profile::text FROM membership WHERE audience = 'bought_twice' ORDER BY 1 LIMIT 1")
        ).one()
        profile = load_profiles(connection, [row.profile])[row.profile]
    kind, values = next(iter(profile.identifiers.items()))
    told = run("explain", "bought_twice", f"{kind}:{next(iter(values))}").stdout
    assert "is in 'bought_twice'" in told
    assert "at least 2 × 'Order Completed'" in told
    assert "because of" in told
    with pytest.raises(NobodyError, match="no audience 'x' is declared; declared are: bought_twice"):
        run("explain", "x", "user_id:user-1")
