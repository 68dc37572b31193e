"""Dead letters are sent again once, with what holds now, and only where it is still to be said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from adapters.log.append import append
from domain.outbound import Outcome
from domain.records import Record, entry_of
from domain.replaying import NO_LONGER
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.deliveries import DeliveryError, list_deliveries, show_delivery
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task
from runtime.replay import ALREADY, Replayed, chosen, replay
from tests.integration.test_connection_preview import HOUR, identify, workspace
from tests.keys import KEYS, MASTER_KEY


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, workspace("ads"))
        yield definitions


def take_in(engine: Engine, definitions: Definitions, *records: Record, hours: int) -> None:
    with engine.begin() as connection:
        append(connection, [entry_of(one) for one in records], advance_to=hours * HOUR)
    drain(Pipeline(engine, definitions), 2**62)


def letters(engine: Engine, definitions: Definitions) -> dict[str, str]:
    """Three people whose entries are dead letters, of whom one has left since: user → letter."""
    given = {"advertising": True}
    users = ("stays", "leaves", "third")
    people = [identify(user, given, plan="pro", email=f"{user}@example.org") for user in users]
    take_in(engine, definitions, *people, hours=2)
    with engine.connect() as connection:
        ids = [one.closing.id for one in reversed(list_deliveries(connection, "pending", "ads", 10))]
    dead = [Outcome(id=id, connection="ads", status="dead", reason="Error 100: field") for id in ids]
    with engine.begin() as connection:
        append(connection, entries_of(dead), advance_to=3 * HOUR)
    gone = identify("leaves", given, plan="free")
    take_in(engine, definitions, msgspec.structs.replace(gone, message_id="later"), hours=4)
    return dict(zip(users, ids, strict=True))


def test_what_still_holds_is_sent_again_once_and_what_was_overtaken_is_not(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    letter = letters(engine, definitions)
    with engine.begin() as connection:
        meant = chosen(connection, (), "ads", "error 100", 10)
        assert [one.closing.id for one in meant] == list(letter.values())
        tried = replay(connection, meant, dry_run=True)
        done = replay(connection, meant)
    assert done == tried
    assert done[0] == Replayed(letter["leaves"], why_not=NO_LONGER)
    assert [one.letter for one in done[1:]] == [letter["stays"], letter["third"]]
    drain(Pipeline(engine, definitions), 2**62)
    with engine.begin() as connection:
        waiting = {one.closing.id for one in list_deliveries(connection, "pending", "ads", 10)}
        assert waiting >= {one.id for one in done[1:]}
        told = show_delivery(connection, done[1].id)["record"]
        assert (told["change"], told["fields"]) == ("add", {"email": "stays@example.org"})
        again = replay(connection, chosen(connection, [letter["stays"]], "", "", 10))
        assert again == [Replayed(letter["stays"], why_not=ALREADY)]
        with pytest.raises(DeliveryError, match="is no dead letter's id"):
            chosen(connection, [done[1].id], "", "", 10)
    task = Task(database, KEYS, tmp_path / "rebuild", jobs=1, range_rows=700)
    found = verify_live(engine, task, definitions, lambda at, goal: None)
    assert [one for one in found.tables if not one.equal] == []


def test_a_letter_is_set_right_and_sent_by_the_command(
    database: str, engine: Engine, definitions: Definitions, tmp_path: Path
) -> None:
    letter = letters(engine, definitions)["stays"]
    command = [sys.executable, "-m", "runtime.cli", "deliveries", "replay"]
    environment = os.environ | {
        "ROUNDTRIP_HOME": str(tmp_path),
        "ROUNDTRIP_DATABASE_URL": database,
        "ROUNDTRIP_NATS_URL": "nats://127.0.0.1:1",
        "ROUNDTRIP_MASTER_KEY": MASTER_KEY,
    }
    for words, complaint in (
        ([], "name letters by id"),
        (["--connection", "ads", "--set", "email=x"], "one letter"),
    ):
        refused = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 2
        assert complaint in refused.stderr
    words = [letter, "--set", "email=mended@example.org"]
    done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 are sent again, 0 not." in done.stderr
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        said = show_delivery(connection, json.loads(done.stdout)["id"])
        assert show_delivery(connection, letter)["record"]["fields"] == {"email": "stays@example.org"}
    assert (said["status"], said["record"]["fields"]) == ("pending", {"email": "mended@example.org"})
