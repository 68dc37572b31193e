"""Roundtrip feeds Roundtrip: the Segment connector against our own HTTP API, running."""

from __future__ import annotations

from adapters.connectors import segment
from adapters.connectors.connector import Answer, ConnectorConfig
from tests.integration.conftest import WRITE_KEY, Roundtrip
from tests.integration.sending import event, record, send


def test_another_roundtrip_takes_audiences_in_as_traits_once(roundtrip: Roundtrip) -> None:
    config = ConnectorConfig("out", {"base_url": roundtrip.url}, {"write_key": WRITE_KEY})
    records = [
        record(user_id="fed-1", plan="gold"),
        record("remove", anonymous_id="fed-2"),
        record(plan="nobody's"),
        record(user_id="fed-3", plan="x" * 40_000),
    ]
    for _ in range(2):
        outcomes = send(segment.CONNECTOR, config, records)
        assert [one.status for one in outcomes] == ["delivered", "delivered", "dead", "dead"]
    [first] = roundtrip.rows(records[0].id)
    [second] = roundtrip.rows(records[1].id)
    assert first["body"]["traits"] == {"plan": "gold", "new_users": True}
    assert first["identifiers"] == [["user_id", "fed-1"]]
    assert second["body"]["traits"] == {"new_users": False}


def test_events_keep_their_time_and_properties(roundtrip: Roundtrip) -> None:
    config = ConnectorConfig("out", {"base_url": roundtrip.url}, {"write_key": WRITE_KEY})
    one = event("Order Completed", {"total": 12.5}, user_id="fed-1")
    [outcome] = send(segment.CONNECTOR, config, [one])
    assert outcome.status == "delivered"
    [row] = roundtrip.rows(one.id)
    assert (row["name"], row["body"]["properties"]) == ("Order Completed", {"total": 12.5})
    assert row["occurred_at"] == one.occurred_at // 1_000 * 1_000


def test_a_wrong_write_key_is_the_operators_to_mend(roundtrip: Roundtrip) -> None:
    answer = roundtrip.http.post("/v1/batch", json={"batch": []}, headers={"authorization": "Basic b3RoZXI6"})
    config = ConnectorConfig("out", {"base_url": roundtrip.url}, {"write_key": "other"})
    [request] = segment.CONNECTOR.render(config, [record(user_id="u")])
    headers = {name.lower(): value for name, value in answer.headers.items()}
    told = Answer(answer.status_code, headers, answer.content)
    [judged] = segment.CONNECTOR.judge(config, request, told)
    assert (judged.verdict, judged.after_s) == ("retry", 110.0)
    assert "renew" in judged.reason
