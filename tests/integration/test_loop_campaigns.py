"""A vendor that drops our id, and names the campaign: which of two messages is answered shows in loop and trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from adapters.log.append import append
from domain.records import entry_of
from domain.workspace import Workspace
from feeds.braze import FEED
from feeds.feed import Payload
from runtime.answers import tie_answers
from runtime.definitions import apply_workspace, open_definitions
from runtime.loop_measures import measure_loops
from runtime.trace import trace
from tests.integration.by_hand import Hand

HOUR = 3_600_000_000


def campaign(audience: str, id: str) -> dict[str, Any]:
    return {
        "connector": "braze_campaign",
        "audience": audience,
        "fields": {"external_id": "identifier.user_id"},
        "settings": {"base_url": "https://rest.iad-01.braze.com", "campaign_id": id},
        "secrets": {"api_key": {"env": "BRAZE_KEY"}},
    }


WORKSPACE = Workspace.model_validate(
    {
        "workspace": "shop",
        "clock": "simulated",
        "feeds": {
            "app": {"format": "segment", "secret": {"env": "KEY"}},
            "currents": {"format": "braze", "secret": {"env": "TOKEN"}},
        },
        "audiences": {
            "new": {"match": {"event": "Signed Up"}},
            "buyers": {"match": {"event": "Bought"}},
        },
        "connections": {"welcome": campaign("new", "c-welcome"), "thanks": campaign("buyers", "c-thanks")},
        "loops": {
            "shop": {
                "hops": [
                    {"audience": "new", "connection": "welcome", "feed": "currents"},
                    {"audience": "buyers", "connection": "thanks", "feed": "currents"},
                ]
            }
        },
    }
)


def opened(id: str, **more: str) -> bytes:
    """As Currents says it, without a `dispatch_id`."""
    event = {
        "event_type": "users.messages.email.Open",
        "id": id,
        "time": 0,
        "user": {"external_user_id": "ann"},
        "properties": more,
    }
    return json.dumps({"events": [event]}).encode()


@pytest.mark.parametrize(
    ("named", "connection", "by"),
    [
        ({"campaign_id": "c-welcome"}, "welcome", "campaign"),
        ({"campaign_id": "507f1f77bcf86cd799439011", "campaign_api_id": "c-thanks"}, "thanks", "campaign"),
        ({}, "thanks", "recipient"),
    ],
    ids=["the older one's", "by its API id", "none named: the newest"],
)
def test_engagement_is_tied_to_the_message_of_the_campaign_that_it_names(
    named: dict[str, str], connection: str, by: str, engine: Engine, database: str
) -> None:
    with open_definitions(database) as definitions:
        hand = Hand(engine, database, definitions)
        apply_workspace(engine, definitions, WORKSPACE)
        for hour, event in ((1, "Signed Up"), (2, "Bought")):
            hand.say(hour * HOUR, {"type": "track", "userId": "ann", "event": event, "messageId": event})
        records = FEED.parse("currents", Payload({}, opened("e-1", **named), 3 * HOUR))
        with engine.begin() as log:
            append(log, [entry_of(record) for record in records], advance_to=3 * HOUR)
        hand.drain()
        with engine.begin() as log:
            while tie_answers(log):
                pass
        sent = {one.connection: one.id for one in hand.requested()}
        hops = {hop["connection"]: hop["answers"] for hop in measure_loops(engine)["loops"]["shop"]["hops"]}
    assert hops == {"welcome": {}, "thanks": {}} | {
        connection: {"Email Opened": {"records": 1, "inferred": 1}}
    }
    found = trace(engine, sent[connection])["circle"]["then"][0]["then"][0]["then"]
    [answered] = [step for step in found if step["name"] == "Email Opened"]
    assert (answered["answers"], answered["by"], answered["inferred"]) == (sent[connection], by, True)
