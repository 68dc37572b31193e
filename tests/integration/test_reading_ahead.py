"""The pipeline reads the log's next rows while it writes, and makes of them what it would have made of them later."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from adapters.log.append import append
from adapters.projections.people import load_graph, load_profiles
from domain.erasure import EraseRequest, request_entry
from domain.records import Entry, Identifier, Record, derive_id, entry_of, node_id
from domain.workspace import Workspace
from runtime import pipeline
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from runtime.reading import Asked, Reading
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from tests.keys import KEYS

BATCH = 4
ANN, BOB = Identifier("user_id", "ann"), Identifier("user_id", "bob")


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    declared = {"workspace": "shop", "feeds": {"app": {"format": "files"}}}
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(declared))
        drain(Pipeline(engine, definitions), 2**62)
        yield definitions


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """Small batches, each of which the next is read before; which were."""
    begin, asked = Reading.begin, list[Asked]()

    def begin_and_wait(reading: Reading, what: Asked) -> None:
        begin(reading, what)
        assert reading._next is not None
        wait([reading._next[1]])
        asked.append(what)

    monkeypatch.setattr(pipeline, "BATCH_ROWS", BATCH)
    monkeypatch.setattr(Reading, "begin", begin_and_wait)
    return asked


def said(number: int, who: Identifier) -> Entry:
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{number}",
            type="identify",
            occurred_at=1,
            identifiers=(who,),
            body=msgspec.Raw(b'{"traits":{"said":%d}}' % number),
            traits_at="traits",
        )
    )


def test_who_is_erased_meanwhile_is_erased_in_what_was_read_ahead_too(
    database: str, engine: Engine, definitions: Definitions, ahead: list[Asked], tmp_path: Path
) -> None:
    request = request_entry(EraseRequest(id=derive_id("erase", "ann"), node=node_id(ANN), asked_by="dpo"))
    entries = [*(said(n, ANN) for n in range(BATCH - 1)), request]
    entries += [said(n, ANN if n % 2 else BOB) for n in range(10, 10 + 2 * BATCH)]
    with engine.begin() as connection:
        append(connection, entries)
    drain(Pipeline(engine, definitions), 2**62)
    assert len(ahead) >= 2
    with engine.connect() as connection:
        graph = load_graph(connection, {node_id(ANN), node_id(BOB)})
        assert graph.keys() == {node_id(BOB)}
        [bob] = load_profiles(connection, graph.values()).values()
        assert bob.value("said") == 16
    task = Task(database, KEYS, tmp_path / "rebuild", jobs=1)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    assert [one for one in found.tables if not one.equal] == []
