"""`roundtrip connection preview` and `roundtrip deliveries`: what would be sent, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from adapters.connectors.meta_custom_audience import hashed
from adapters.log.append import append
from domain.outbound import Outbound, Outcome
from domain.records import Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.connection_preview import HIDDEN, PreviewError, preview_connection, shown
from runtime.definitions import Definitions, apply_workspace, open_definitions
from runtime.deliveries import DeliveryError, list_deliveries, show_delivery
from runtime.outcomes import entries_of
from runtime.pipeline import Pipeline, drain

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
    # Declared after the people were routed: it is told of all of them as it takes effect.
    apply_workspace(engine, definitions, workspace("ads", "later"))
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        sql = "SELECT position FROM log WHERE topic = 'outbound.requested' ORDER BY 1"
        [position, later] = connection.execute(text(sql)).scalars().all()

    person = preview_connection(engine, "later", "user_id:told", ENVIRON)
    written = preview_connection(engine, "ads", str(position), ENVIRON)

    said = shown(person)
    again = "the destination has been told of this person already, and has nothing new to be told"
    assert (said["would_be_sent"], said["why_not"]) == (False, again)
    [sent] = preview_connection(engine, "later", str(later), ENVIRON).requests
    assert [one.fields for one in sent.outbound] == [one.fields for one in person.records]
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


def test_dead_letters_are_listed_with_their_reason_and_shown_whole(
    engine: Engine, definitions: Definitions
) -> None:
    people = [
        identify(user, {"advertising": True}, plan="pro", email=f"{user}@example.org")
        for user in ("first", "second", "third")
    ]
    with engine.begin() as connection:
        append(connection, [entry_of(one) for one in people], advance_to=2 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)
    with engine.connect() as connection:
        third, second, first = list_deliveries(connection, "pending", "ads", 10)
    assert first.closing.position < second.closing.position < third.closing.position
    outcomes = [
        Outcome(id=first.closing.id, connection="ads", status="dead", reason="error 100", attempts=3),
        Outcome(id=second.closing.id, connection="ads", status="delivered"),
    ]
    with engine.begin() as connection:
        append(connection, entries_of(outcomes), advance_to=3 * HOUR)
    drain(Pipeline(engine, definitions), 2**62)

    with engine.connect() as connection:
        [dead] = list_deliveries(connection, "dead", "", 10)
        waiting = list_deliveries(connection, "pending", "ads", 10)
        others = list_deliveries(connection, "dead", "other", 10)
        newest = list_deliveries(connection, "", "", 1)
        whole = show_delivery(connection, first.closing.id)
        with pytest.raises(DeliveryError, match="no outbound record"):
            show_delivery(connection, "00000000-0000-4000-8000-000000000000")
        with pytest.raises(DeliveryError, match="is no outbound record's id"):
            show_delivery(connection, "x")

    assert dead.as_json() == {
        "id": first.closing.id,
        "connection": "ads",
        "status": "dead",
        "attempts": 3,
        "position": first.closing.position,
        "reason": "error 100",
    }
    assert "example.org" not in json.dumps(dead.as_json())
    assert [one.closing.id for one in (*waiting, *newest)] == [third.closing.id] * 2
    assert others == []
    assert whole["record"]["fields"] == {"email": "first@example.org"}
    assert whole["reason"] == "error 100"
