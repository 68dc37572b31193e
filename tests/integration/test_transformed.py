"""A connection's transformation on its way: what the destination gets, what the log says of it, and what it costs where
it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.log.append import append
from domain.erasure import EraseRequest, request_entry
from domain.outbound import Outcome, Transformed
from domain.records import Identifier, Record, derive_id, entry_of, node_id
from domain.transforming import PythonFile, Transform
from domain.workspace import Workspace
from runtime.connection_preview import preview_connection, shown
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.deliveries import list_deliveries, show_delivery
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain
from runtime.replay import chosen, replay
from runtime.transformed import append_transformed
from tests.integration.delivering import Bench, delivering, worker
from tests.integration.destination import Destination
from tests.integration.test_connection_preview import HOUR, identify
from tests.keys import said

SOURCE = """def shorten(record):
    user = record["fields"]["external_id"]
    if user == "user-1":
        return False
    if user == "user-2":
        raise KeyError(user)
    return {"fields": {"external_id": user.upper()}}
"""
SHORTEN = Transform(python=PythonFile(file="shorten.py", source=SOURCE), function="shorten")


def test_a_destination_gets_what_is_made_and_a_failure_is_one_dead_letter(nats_url: str) -> None:
    async def test(on: Bench, destination: Destination) -> None:
        batch = on.batch(4)
        async with worker(on, destination, transform=SHORTEN):
            await on.request(batch)
            outcomes = await on.outcomes(4)
        assert sorted(destination.seen[0].people) == ["USER-0", "USER-3"]
        assert [(one.status, one.reason) for one in outcomes] == [
            ("delivered", ""),
            ("suppressed", "transformation shorten of shorten.py drops it"),
            ("dead", "transformation shorten of shorten.py: failed: KeyError at shorten.py:6"),
            ("delivered", ""),
        ]
        assert [one.transformed and one.transformed.fields for one in outcomes] == [
            {"external_id": "USER-0"},
            None,
            None,
            {"external_id": "USER-3"},
        ]

    delivering(nats_url, test)


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    ads: dict[str, Any] = {
        "connector": "standard_webhooks",
        "audience": "pros",
        "fields": {"email": "attribute.email"},
        "settings": {"url": "https://hook.example.com"},
        "secrets": {"secret": {"env": "HOOK"}},
        "transform": {
            "cel": "fields.email == 'out@example.org' ? false : {'fields': {'mail': fields.email.upperAscii()}}"
        },
    }
    workspace = {
        "workspace": "test",
        "clock": "simulated",
        "feeds": {"app": {"format": "files"}},
        "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
        "connections": {"ads": ads},
    }
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(workspace))
        yield definitions


def record(user: str) -> Record:
    return identify(user, {}, plan="pro", email=f"{user}@example.org")


def test_the_log_says_what_was_sent_and_nothing_of_whom_was_erased_since(
    database: str, engine: Engine, definitions: Definitions
) -> None:
    with engine.begin() as connection:
        append(connection, [entry_of(record(user)) for user in ("ann", "out", "gone")], advance_to=2 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        ids = [one.closing.id for one in reversed(list_deliveries(connection, "pending", "ads", 10))]
        profiles = [show_delivery(connection, id)["record"]["profile"] for id in ids]

    ann = shown(preview_connection(engine, "ads", "user_id:ann", {}))
    assert [one["fields"] for one in ann["records"]] == [{"email": "ann@example.org"}]
    assert [one["fields"] for one in ann["sent"]] == [{"mail": "ANN@EXAMPLE.ORG"}]
    assert ann["requests"][0]["body"]["data"]["fields"] == {"mail": "ANN@EXAMPLE.ORG"}
    out = shown(preview_connection(engine, "ads", "user_id:out", {}))
    assert out["requests"] == []

    request = EraseRequest(
        id=derive_id("e", "1"), node=node_id(Identifier("user_id", "gone")), asked_by="0" * 64
    )
    with engine.begin() as connection:
        append(connection, [request_entry(request)])
    drain(Pipeline(engine, definitions), 2**62)
    # Its request was on its way meanwhile.
    outcomes = [
        Outcome(
            id=id,
            connection="ads",
            status="dead",
            reason="error 100",
            transformed=Transformed(
                id=id, connection="ads", profile=profile, change="add", fields={"mail": f"SENT {n}"}
            ),
        )
        for n, (id, profile) in enumerate(zip(ids, profiles, strict=True))
        if n != 1
    ]
    for _ in range(2):
        append_transformed(engine, outcomes, entries_of(outcomes))
    while drain(Pipeline(engine, definitions), 2**62):
        pass

    with engine.begin() as connection:
        assert show_delivery(connection, ids[0])["sent"] == {"change": "add", "fields": {"mail": "SENT 0"}}
        [again] = replay(connection, chosen(connection, [ids[0]], "", "", 1))
    assert again.id
    assert said(database, "outbound.requested")[-1]["fields"] == {"email": "ann@example.org"}
    assert [one["fields"] for one in said(database, "outbound.transformed")] == [{"mail": "SENT 0"}]
    assert "SENT" not in json.dumps(said(database, "outbound.dead"))
