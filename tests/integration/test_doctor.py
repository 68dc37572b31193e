"""The examination of a platform: all of its promises hold of one that is well, and each is told apart where one does
not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from nats.js import JetStreamContext
from sqlalchemy import text
from typer.testing import CliRunner

from adapters.bus.connection import connect
from adapters.bus.publish import publish_batch
from adapters.bus.streams import IN, OUT, ensure_streams
from adapters.database import open_database
from adapters.log.append import append
from adapters.log.read import iterate
from adapters.projections.checkpoint import put_checkpoint
from adapters.projections.subjects import index_subjects
from domain.outbound import Outcome
from domain.records import Identifier, Record, Row, entry_of, record_id
from domain.workspace import Workspace
from runtime.cli import app_for
from runtime.definitions import apply_workspace, open_definitions
from runtime.doctor.outgoing import examine_pending
from runtime.doctor.parts import examine_readers, examine_schema
from runtime.doctor.verify import Patient, verify
from runtime.embedded.nats import start_nats
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.relay import CHECKPOINT as RELAY
from runtime.relay import _outbound_of
from tests.integration.tampering import tampering
from tests.keys import KEYS, said
from tests.servers import temporary_home

WORKSPACE = {
    "workspace": "test",
    "feeds": {"app": {"format": "files"}},
    "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
    "connections": {
        "ads": {
            "connector": "meta_custom_audience",
            "audience": "pros",
            "fields": {"email": "attribute.email"},
            "settings": {"audience_id": "23842000000000001"},
            "secrets": {"access_token": {"env": "ADS_TOKEN"}},
        }
    },
}


class Shop(NamedTuple):
    """Two people, of whom one has become a pro, is none any more, and each change was delivered."""

    database: str
    patient: Patient

    def findings(self, *answered: str) -> dict[str, str]:
        """What the deep examination has found wrong, by invariant."""
        found = list(verify(self.patient, answered))
        assert {"I2", "I3", "I4", "I5", "I7", "I8"} <= {one.name for one in found}
        wrong: dict[str, str] = {}
        for one in found:
            if not one.holds:
                wrong[one.name] = f"{wrong.get(one.name, '')} {one.wrong}"
        return wrong

    def say(self, number: int, plan: str) -> None:
        traits = {"plan": plan, "email": "u-1@example.com"}
        record = Record(
            feed="app",
            message_id=f"m-{number}",
            type="identify",
            name="",
            occurred_at=number,
            identifiers=(Identifier("user_id", "u-1"),),
            body=msgspec.Raw(msgspec.json.encode(traits)),
            traits=traits,
        )
        with self.patient.engine.begin() as connection:
            append(connection, [entry_of(record)])

    def take_in(self) -> None:
        drain(Pipeline(self.patient.engine, self.patient.definitions), self.head())
        drain(Pipeline(self.patient.engine, self.patient.definitions), self.head())

    def head(self) -> int:
        with self.patient.engine.connect() as connection:
            return int(connection.execute(text("SELECT position FROM log_head")).scalar_one())

    def close(self, *ids: str) -> None:
        """Appends that these were delivered, in this order."""
        with self.patient.engine.begin() as connection:
            append(
                connection, entries_of([Outcome(id=id, connection="ads", status="delivered") for id in ids])
            )
        self.take_in()

    def rows(self) -> list[Row]:
        with self.patient.engine.connect() as connection:
            return list(iterate(connection))

    def requested(self) -> list[str]:
        return [one["id"] for one in said(self.database, "outbound.requested")]


@pytest.fixture
def shop(database: str, tmp_path: Path) -> Iterator[Shop]:
    engine = open_database(database, application="test", keys=KEYS)
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
        found = Shop(database, Patient(engine, database, "", KEYS, definitions, tmp_path, jobs=1))
        for number, plan in enumerate(("pro", "free"), 1):
            found.say(number, plan)
            found.take_in()
        with engine.begin() as connection:
            index_subjects(connection)
        yield found
    engine.dispose()


def test_of_a_platform_that_is_well_every_promise_holds(shop: Shop) -> None:
    shop.close(*shop.requested())
    assert shop.findings(record_id("app", "m-1")) == {}
    assert examine_schema(shop.patient.engine).holds


def test_a_record_that_was_answered_and_is_not_in_the_log_is_named(shop: Shop) -> None:
    shop.close(*shop.requested())
    lost = record_id("app", "m-99")
    assert lost in shop.findings(record_id("app", "m-1"), lost)["I1"]


@pytest.mark.parametrize(
    ("broken", "harm", "told"),
    [
        ({"I2"}, "DELETE FROM log_stream WHERE position = 3", "would be taken in again"),
        (
            {"I2"},
            "INSERT INTO log_stream SELECT gen_random_uuid(), 1, position FROM log_head",
            "identities are known",
        ),
        ({"I3"}, "UPDATE log_stream SET version = 7 WHERE position = 2", "none between it and 0"),
        (
            {"I8", "I4"},
            "UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 2",
            "altered at position 2",
        ),
        ({"I8", "I3", "I4"}, "DELETE FROM log WHERE position = 2", "missing at position 2"),
        ({"I4"}, "DELETE FROM identity", "identity differs"),
        ({"I4"}, "DELETE FROM subject_position WHERE position = 3", "position 3 is not found by whose it is"),
        (
            {"I4", "I5"},
            "UPDATE outbound SET status = 'dead'",
            "it is 'dead', and the log has outbound.delivered",
        ),
    ],
)
def test_what_does_not_hold_is_named(shop: Shop, broken: set[str], harm: str, told: str) -> None:
    shop.close(*shop.requested())
    with tampering(shop.database) as connection:
        connection.execute(text(harm))
    found = shop.findings()
    assert broken <= found.keys()
    assert told in " ".join(found.values())


def test_the_command_tells_it_to_programs_too(
    shop: Shop, nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATABASE_URL": shop.database, "NATS_URL": nats_url, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(f"ROUNDTRIP_{name}", value)
    with tampering(shop.database) as connection:
        connection.execute(text("DELETE FROM identity"))
    words = ["doctor", "--deep", "--json"]
    done = CliRunner().invoke(app_for(words), words)
    assert done.exit_code == 1
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["schema"]["holds"]
    assert found["I8"]["holds"]
    assert "identity differs" in found["I4"]["wrong"]


def test_what_was_taken_back_before_it_was_told_is_out_of_order(shop: Shop) -> None:
    added, removed = shop.requested()
    shop.close(removed, added)
    assert set(found := shop.findings()) == {"I7"}
    assert "'ads' delivered what was requested at position" in found["I7"]


def test_of_readers_only_one_that_nobody_runs_and_is_behind_is_named(shop: Shop) -> None:
    assert {one.name: one.holds for one in examine_readers(shop.patient.engine)} == {
        "pipeline": True,
        "relay": False,
    }


def test_what_is_pending_waits_in_nats_or_is_named_as_lost(shop: Shop) -> None:
    engine = shop.patient.engine

    async def look(js: JetStreamContext) -> None:
        await ensure_streams(js)
        assert (await examine_pending(engine, js)).holds, "the relay has yet to come to it"
        with engine.begin() as connection:
            put_checkpoint(connection, RELAY, shop.head())
        first, second = shop.requested()
        assert "2 records have no outcome" in (await examine_pending(engine, js)).wrong
        await publish_batch(js, _outbound_of(engine, shop.rows(), resent=False))
        assert (await examine_pending(engine, js)).holds, "both wait to be sent"
        await js.purge_stream(OUT)
        outcome = msgspec.json.encode([Outcome(id=first, connection="ads", status="delivered")])
        await js.publish("roundtrip.outcome.ads", outcome, stream=IN)
        wrong = (await examine_pending(engine, js)).wrong
        assert "1 records have no outcome" in wrong
        assert second in wrong

    async def run() -> None:
        with temporary_home() as home, start_nats(home) as server:
            client = await connect(server.url)
            try:
                await look(client.jetstream())
            finally:
                await client.close()

    asyncio.run(run())
