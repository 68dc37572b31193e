"""What is pending of an erasure: who has yet to do their part, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, text

from adapters.bus.streams import IN, OUT
from adapters.history.tables import History
from adapters.log.append import append
from adapters.log.read import read_head
from adapters.projections.checkpoint import put_checkpoint
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.erase import request_erasure
from runtime.erasures import certificate, erasures
from runtime.pipeline import Pipeline, drain
from runtime.relay import CHECKPOINT, CLEARED
from tests.integration.test_doctor import WORKSPACE

PLANS = {"ann": "pro", "bob": "free"}


def test_what_waits_in_a_queue_is_waited_for_where_it_may_be_the_persons(
    database: str, engine: Engine, tmp_path: Path
) -> None:
    history = History(str(tmp_path))
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(WORKSPACE))
        pipeline = Pipeline(engine, definitions)
        with engine.begin() as connection:
            append(connection, [entry_of(identified(name, plan)) for name, plan in PLANS.items()])
        drain(pipeline, 2**62)
        with engine.begin() as connection:
            ids = {name: request_erasure(connection, Identifier("user_id", name), "dpo") for name in PLANS}
        unasked = ["the pipeline has not come to it"]
        assert [one["pending"] for one in erasures(engine, history)] == [unasked, unasked]
        drain(pipeline, 2**62)

    def pending(name: str) -> Any:
        listed = {one["erasure"]: one["pending"] for one in erasures(engine, history)}[ids[name]]
        assert listed == certificate(engine, history, ids[name])["pending"]
        return listed

    assert pending("bob") == ["NATS: the relay has not come to it"]
    with engine.begin() as connection:
        put_checkpoint(connection, CHECKPOINT, read_head(connection).position)
    assert pending("bob") == [f"NATS: something waits in {IN}"]
    with engine.begin() as connection:
        count = connection.execute(text("SELECT erasures FROM log_head")).scalar_one()
        put_checkpoint(connection, CLEARED[IN], count)
    assert pending("bob") == []
    assert certificate(engine, history, ids["bob"])["complete"]
    assert pending("ann") == [f"NATS: something waits in {OUT}", "destinations: 1 have not answered"]


def identified(name: str, plan: str) -> Record:
    traits = {"plan": plan, "email": f"{name}@example.com"}
    return Record(
        feed="app",
        message_id=name,
        type="identify",
        occurred_at=1,
        identifiers=(Identifier("user_id", name),),
        body=msgspec.Raw(msgspec.json.encode(traits)),
        traits=traits,
    )
