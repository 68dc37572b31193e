"""`roundtrip connection preview`: exactly what would be sent, and why nothing would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from adapters.connectors.meta_custom_audience import hashed
from adapters.database import open_database
from adapters.log.append import append
from domain.outbound import Outbound
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.connection_preview import HIDDEN, PreviewError, preview_connection, shown
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from tests.keys import KEYS

HOUR = 3_600_000_000
ENVIRON = {"ADS_URL": "http://ads.example", "ADS_TOKEN": "the-token-itself"}


def workspace(*connections: str) -> Workspace:
    ads = {
        "connector": "meta_custom_audience",
        "audience": "pros",
        "purpose": "advertising",
        "fields": {"email": "attribute.email"},
        "settings": {"base_url": "${ADS_URL}", "audience_id": "23"},
        "secrets": {"access_token": {"env": "ADS_TOKEN"}},
    }
    return Workspace.model_validate(
        {
            "workspace": "test",
            "clock": "simulated",
            "feeds": {"app": {"format": "files"}},
            "audiences": {"pros": {"match": {"attribute": "plan", "is": "pro"}}},
            "connections": dict.fromkeys(connections, ads),
        }
    )


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, application="test", keys=KEYS)
    yield engine
    engine.dispose()


@pytest.fixture
def definitions(database: str, engine: Engine) -> Iterator[Definitions]:
    with open_definitions(database) as definitions:
        apply_workspace(engine, definitions, workspace("ads"))
        yield definitions


def identify(user: str, consent: dict[str, bool], **traits: Any) -> Record:
    return Record(
        feed="app",
        message_id=f"m-{user}",
        type="identify",
        occurred_at=HOUR,
        identifiers=(Identifier("user_id", user),),
        body=msgspec.Raw(msgspec.json.encode({"traits": traits})),
        traits_at="traits",
        consent=consent,
    )


def test_a_person_and_a_position_show_the_request_that_is_sent(
    engine: Engine, definitions: Definitions
) -> None:
    given = {"advertising": True}
    people = [
        identify("told", given, plan="pro", email="told@example.org", phone="+4915112345"),
        identify("refusing", {"advertising": False}, plan="pro", email="r@example.org"),
        identify("incomplete", given, plan="pro"),
        identify("outside", given, plan="free", email="o@example.org"),
    ]
    with engine.begin() as connection:
        append(connection, [entry_of(one) for one in people], advance_to=2 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)
    # Declared after the people were routed: it has been told of nobody yet.
    apply_workspace(engine, definitions, workspace("ads", "later"))
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        sql = "SELECT position FROM log WHERE topic = 'outbound.requested'"
        [position] = connection.execute(text(sql)).scalars().all()

    person = preview_connection(engine, "later", "user_id:told", ENVIRON)
    written = preview_connection(engine, "ads", str(position), ENVIRON)

    said = shown(person)
    assert said["would_be_sent"]
    assert [one["fields"] for one in said["records"]] == [{"email": "told@example.org"}]
    [request] = said["requests"]
    assert (request["method"], request["url"].startswith("http://ads.example/")) == ("POST", True)
    assert request["headers"]["authorization"] == f"Bearer {HIDDEN}"
    assert hashed("told@example.org") in request["body"]
    everything = json.dumps([said, shown(written)])
    assert "+4915112345" not in everything
    assert ENVIRON["ADS_TOKEN"] not in everything
    [record] = written.records
    assert isinstance(record, Outbound)
    assert written.requests[0].outbound == (record,)

    reasons = {
        (
            "ads",
            "told",
        ): "the destination has been told of this person already, and has nothing new to be told",
        ("later", "refusing"): "no consent to 'advertising'",
        ("later", "incomplete"): "no attribute 'email'",
        ("later", "outside"): "the destination is told of audience 'pros', in which this person is not",
    }
    for (name, user), reason in reasons.items():
        found = shown(preview_connection(engine, name, f"user_id:{user}", ENVIRON))
        assert found == {"would_be_sent": False, "why_not": reason, "records": [], "requests": []}

    for name, whom, ours, message in (
        ("none", "user_id:told", ENVIRON, "not declared; declared are: ads, later"),
        ("ads", "user_id:nobody", ENVIRON, "nobody is known"),
        ("ads", "1", ENVIRON, "position 1 holds no outbound record"),
        ("later", str(position), ENVIRON, "is of connection 'ads'"),
        ("ads", "user_id:told", {}, "needs the environment variable ADS_URL"),
    ):
        with pytest.raises(PreviewError, match=message):
            preview_connection(engine, name, whom, ours)
