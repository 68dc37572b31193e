"""What vendors' answers mean, where a simulator cannot be brought to give them; and limits of requests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.connectors import (
    braze,
    google_analytics,
    google_data_manager,
    hubspot,
    meta_custom_audience,
    segment,
    standard_webhooks,
    tiktok,
)
from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Judgement, Request
from adapters.connectors.hashing import sha256
from domain.outbound import Outbound


def record(number: int, change: str = "add", **fields: Any) -> Outbound:
    return Outbound(
        id=f"00000000-0000-5000-8000-{number:012d}",
        connection="out",
        batch="b-1",
        profile=f"p{number}",
        audience="new_users",
        change=change,  # type: ignore[arg-type]
        fields=fields,
        cause=1,
    )


def config(connector: Connector) -> ConnectorConfig:
    assert connector.example is not None
    return ConnectorConfig("out", connector.example.settings, connector.example.secrets)


def judged(connector: Connector, status: int, body: object, *records: Outbound) -> list[Judgement]:
    [request] = connector.render(config(connector), records)
    return connector.judge(config(connector), request, Answer(status, {}, msgspec.json.encode(body)))


def people(count: int) -> list[Outbound]:
    return [record(n, email=f"user{n}@example.com") for n in range(count)]


def test_google_names_members_and_the_others_go_again() -> None:
    field = "audience_members.audience_members[1].user_data.user_identifiers"
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_ARGUMENT"},
        {
            "fieldViolations": [
                {"field": field, "reason": "INVALID_HEX_ENCODING", "description": "user1@example.com"}
            ]
        },
    ]
    body = {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": details}}
    told = judged(google_data_manager.CONNECTOR, 400, body, *people(3))
    assert [one.verdict for one in told] == ["retry", "dead", "retry"]
    assert told[1].reason == "Google could not use the member: INVALID_HEX_ENCODING"
    assert told[0].after_s == 0


def test_hubspot_is_told_all_that_several_changes_of_one_batch_come_to() -> None:
    changes = [
        record(1, email="a@example.com", city="Graz"),
        record(2, email="A@example.com", stage="lead"),
        record(3, email="a@example.com", city="Linz"),
    ]
    [request] = hubspot.CONNECTOR.render(config(hubspot.CONNECTOR), changes)
    [one] = msgspec.json.decode(request.body)["inputs"]
    assert one["properties"] == {"city": "Linz", "stage": "lead", "roundtrip_new_users": "true"}


def test_hubspots_lock_lasts_for_two_seconds() -> None:
    [one] = judged(hubspot.CONNECTOR, 423, {}, *people(1))
    assert (one.verdict, one.after_s) == ("retry", 2.0)


@pytest.mark.parametrize(
    ("code", "verdict", "after_s"),
    [
        (0, "delivered", None),
        (40100, "retry", None),
        (50002, "retry", None),
        (40105, "retry", 110.0),
        (40002, "dead", None),
    ],
)
def test_tiktok_says_by_its_code(code: int, verdict: str, after_s: float | None) -> None:
    [one] = judged(tiktok.CONNECTOR, 200, {"code": code, "message": "user0@example.com"}, *people(1))
    assert (one.verdict, one.after_s) == (verdict, after_s)


def test_braze_refuses_all_and_names_each() -> None:
    errors = [{"type": "bad", "input_array": "attributes", "index": 0}]
    [one] = judged(
        braze.CONNECTOR,
        400,
        {"message": "Valid data must be provided", "errors": errors},
        record(1, external_id="u"),
    )
    assert one.verdict == "dead"


def test_a_signature_is_the_specifications_own() -> None:
    # The example of github.com/standard-webhooks/standard-webhooks, spec, "Signature scheme".
    secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    given = ConnectorConfig("out", {"url": "https://example.com/hook"}, {"secret": secret})
    body = b'{"email":"test@example.com","username":"test_user"}'
    request = Request(
        "POST", "https://example.com/hook", {"webhook-id": "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"}, body, ()
    )
    signed = standard_webhooks.sign(given, request, 1649367553)
    assert signed.headers["webhook-timestamp"] == "1649367553"
    assert signed.headers["webhook-signature"] == "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="


def test_meta_takes_several_identifiers_of_a_person_in_one_row() -> None:
    records = [
        record(1, email="Ada@example.com", phone="+43 664 1234567"),
        record(2, external_id="u-2", madid="EA7583CD-A667-48BC-B806-42ECB2B48606"),
        record(3, phone="0664"),
    ]
    [request] = meta_custom_audience.CONNECTOR.render(config(meta_custom_audience.CONNECTOR), records)
    from urllib.parse import parse_qs

    payload = msgspec.json.decode(parse_qs(request.body.decode())["payload"][0])
    assert payload["schema"] == ["EXTERN_ID", "EMAIL", "PHONE", "MADID"]
    assert payload["data"] == [
        ["", sha256("ada@example.com"), sha256("436641234567"), ""],
        ["u-2", "", "", "ea7583cd-a667-48bc-b806-42ecb2b48606"],
    ]
    assert [one.id for one in request.outbound] == [one.id for one in records[:2]]


@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=40))
def test_segments_batches_are_within_its_limits_and_leave_nobody_out(sizes: list[int]) -> None:
    records = [record(n, user_id=f"u{n}", text="x" * size) for n, size in enumerate(sizes)]
    requests = segment.CONNECTOR.render(config(segment.CONNECTOR), records)
    assert all(len(request.body) <= segment.BATCH_LIMIT for request in requests)
    calls = [call for request in requests for call in msgspec.json.decode(request.body)["batch"]]
    assert all(len(msgspec.json.encode(call)) <= segment.CALL_LIMIT for call in calls)
    carried = [one.id for request in requests for one in request.outbound]
    assert carried == [call["messageId"] for call in calls]
    fitting = [one.id for one, size in zip(records, sizes, strict=True) if size < segment.CALL_LIMIT - 200]
    assert set(fitting) <= set(carried)


@pytest.mark.parametrize(
    "fields",
    [
        {"client_id": "1.2", "ga_session": "x"},
        {"client_id": "1.2", "9plan": "x"},
        {"client_id": "1.2", "plan": "x" * 101},
        {"client_id": "1.2", "plan": None},
        {"client_id": "1.2", **{f"p{n}": n for n in range(26)}},
        {"plan": "gold"},
    ],
)
def test_what_google_analytics_would_drop_is_not_sent(fields: dict[str, Any]) -> None:
    assert google_analytics.CONNECTOR.render(config(google_analytics.CONNECTOR), [record(1, **fields)]) == []
