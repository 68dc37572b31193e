"""`roundtrip identity explain`: the graph of a person, each edge with the record that made it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from adapters.log.append import append
from domain.records import Identifier, Record, RecordType, entry_of
from domain.workspace import Workspace
from runtime.cli import app_for
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.identity_explain import explain_identity
from runtime.pipeline import Pipeline, drain
from runtime.profiles import NobodyError
from tests.keys import MASTER_KEY

ANN, BOB = Identifier("user_id", "ann"), Identifier("user_id", "bob")
PHONE, TABLET = Identifier("anonymous_id", "phone"), Identifier("anonymous_id", "tablet")


@pytest.fixture
def places(database: str, engine: Engine) -> dict[str, int]:
    """Where in the log what was said stands."""
    said: list[tuple[str, RecordType, list[Identifier]]] = [
        ("visit", "track", [PHONE]),
        ("other visit", "track", [TABLET]),
        ("login", "identify", [ANN, PHONE]),
        ("second login", "identify", [ANN, TABLET]),
        ("theft", "track", [BOB, PHONE]),
    ]
    with open_definitions(database) as definitions:
        return _taken_in(engine, definitions, said)


def _taken_in(
    engine: Engine, definitions: Definitions, said: list[tuple[str, RecordType, list[Identifier]]]
) -> dict[str, int]:
    workspace = {"workspace": "shop", "feeds": {"app": {"format": "files"}}}
    apply_workspace(engine, definitions, Workspace.model_validate(workspace))
    found = {}
    for name, kind, identifiers in said:
        record = Record(
            feed="app",
            message_id=name,
            type=kind,
            name=name if kind == "track" else "",
            occurred_at=1,
            identifiers=tuple(identifiers),
            body=msgspec.Raw(b"{}"),
        )
        with engine.begin() as connection:
            found[name] = append(connection, [entry_of(record)]).last_position
        drain(Pipeline(engine, definitions), 2**62)
    return found


def test_each_edge_is_told_with_the_record_that_made_it(engine: Engine, places: dict[str, int]) -> None:
    found = explain_identity(engine, "user_id:ann")
    assert {one["identifier"]: one["since"] for one in found["identifiers"]} == {
        "anonymous_id:phone": places["visit"],
        "user_id:ann": places["login"],
        "anonymous_id:tablet": places["other visit"],
    }
    edges = {edge["position"]: edge for edge in found["edges"]}
    assert set(edges) == {places["login"], places["second login"]}
    assert set(edges[places["login"]]["joins"]) == {"user_id:ann", "anonymous_id:phone"}
    assert edges[places["login"]]["merged"] == []
    assert set(edges[places["second login"]]["joins"]) == {"user_id:ann", "anonymous_id:tablet"}
    assert len(edges[places["second login"]]["merged"]) == 1
    assert found == explain_identity(engine, "anonymous_id:tablet")


def test_what_was_refused_is_told_with_its_reason(engine: Engine, places: dict[str, int]) -> None:
    [refused] = explain_identity(engine, "user_id:bob")["refused"]
    assert refused["position"] == places["theft"]
    assert (refused["kind"], refused["reason"]) == (
        "anonymous_id",
        "it belongs to a profile with another user_id",
    )


def test_the_command_says_it_in_words(
    database: str, engine: Engine, places: dict[str, int], tmp_path: Path
) -> None:
    def run(*words: str) -> Result:
        environment = {
            "ROUNDTRIP_HOME": str(tmp_path),
            "ROUNDTRIP_DATABASE_URL": database,
            "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
            "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
        }
        app = app_for(["identity"])
        return CliRunner().invoke(app, ["identity", "explain", *words], env=os.environ | environment)

    words = run("user_id:ann").stdout
    assert f"user_id:ann, since position {places['login']}" in words
    assert "became this one" in words
    assert json.loads(run("user_id:ann", "--json").stdout) == explain_identity(engine, "user_id:ann")
    nobody = run("user_id:nobody")
    assert isinstance(nobody.exception, NobodyError)
