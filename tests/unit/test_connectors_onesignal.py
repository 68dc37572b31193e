"""The OneSignal connector: what is sent of a batch, and what each answer means for its records."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.connectors.connector import Answer, ConnectorConfig, RenderError, Request
from adapters.connectors.onesignal import CONNECTOR, MAX_BATCH
from domain.outbound import Outbound

APP = "8250eaf6-1a58-489e-b136-7c74a864b434"
CONFIG = ConnectorConfig(
    "push",
    {"base_url": "http://127.0.0.1:1/api/v1/", "app_id": APP, "contents": {"en": "Hello"}},
    {"api_key": "secret-key"},
)


def outbound(number: int, batch: str = "batch-1", **changes: Any) -> Outbound:
    values: dict[str, Any] = {
        "id": f"00000000-0000-5000-8000-{number:012d}",
        "connection": "push",
        "batch": batch,
        "profile": f"p{number}",
        "audience": "new",
        "change": "add",
        "fields": {"external_id": f"user-{number}"},
        "cause": 7,
        "purpose": "push",
    }
    return Outbound(**(values | changes))


def request_of(*records: Outbound) -> Request:
    [request] = CONNECTOR.render(CONFIG, records)
    return request


def body_of(request: Request) -> dict[str, Any]:
    body = msgspec.json.decode(request.body)
    assert isinstance(body, dict)
    return body


def judged(status: int, body: object, *records: Outbound) -> list[tuple[str, str]]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    answer = Answer(status, {}, raw)
    return [
        (j.verdict, j.reference or j.reason) for j in CONNECTOR.judge(CONFIG, request_of(*records), answer)
    ]


def test_a_batch_is_one_notification() -> None:
    request = request_of(outbound(1), outbound(2))

    assert (request.method, request.url) == ("POST", "http://127.0.0.1:1/api/v1/notifications?c=push")
    assert request.headers["authorization"] == "Key secret-key"
    key = body_of(request).pop("idempotency_key")
    assert UUID(key).version == 3
    assert body_of(request) == {
        "app_id": APP,
        "target_channel": "push",
        "include_aliases": {"external_id": ["user-1", "user-2"]},
        "contents": {"en": "Hello"},
        "name": "batch-1",
        "data": {"outbound_batch": "batch-1", "connection": "push"},
        "idempotency_key": key,
    }


@given(st.permutations(range(6)))
def test_the_order_of_the_records_changes_nothing(order: list[int]) -> None:
    assert request_of(*map(outbound, order)) == request_of(*map(outbound, range(6)))


@given(st.sets(st.integers(0, 9), min_size=1))
def test_what_is_left_of_a_batch_has_the_key_of_the_batch(left: set[int]) -> None:
    whole = body_of(request_of(*map(outbound, range(10))))
    rest = body_of(request_of(*map(outbound, left)))

    assert rest["idempotency_key"] == whole["idempotency_key"]


def test_batches_and_connections_have_keys_of_their_own() -> None:
    first = body_of(request_of(outbound(1)))["idempotency_key"]
    other_batch = body_of(request_of(outbound(1, batch="batch-2")))["idempotency_key"]
    [other] = CONNECTOR.render(CONFIG._replace(name="push_b"), [outbound(1)])

    assert len({first, other_batch, body_of(other)["idempotency_key"]}) == 3


def test_a_person_twice_in_a_batch_is_named_once() -> None:
    request = request_of(outbound(1), outbound(2, fields={"external_id": "user-1"}))

    assert body_of(request)["include_aliases"] == {"external_id": ["user-1"]}
    assert len(request.outbound) == 2


def test_a_record_without_external_id_is_in_no_request() -> None:
    assert CONNECTOR.render(CONFIG, [outbound(1, fields={})]) == []
    assert CONNECTOR.render(CONFIG, [outbound(1, fields={"external_id": 7})]) == []


def test_more_than_one_batch_is_refused() -> None:
    with pytest.raises(RenderError, match="one batch of at most 2000 records"):
        CONNECTOR.render(CONFIG, [outbound(1), outbound(2, batch="batch-2")])
    with pytest.raises(RenderError):
        CONNECTOR.render(CONFIG, [outbound(n) for n in range(MAX_BATCH + 1)])


def test_a_sent_notification_delivers_all() -> None:
    assert judged(200, {"id": "n-1", "external_id": None}, outbound(1), outbound(2)) == [
        ("delivered", "n-1"),
        ("delivered", "n-1"),
    ]


def test_an_invalid_alias_is_dead_and_the_others_delivered() -> None:
    body = {"id": "n-1", "errors": {"invalid_aliases": {"external_id": ["user-2"]}}}

    assert judged(200, body, outbound(1), outbound(2)) == [
        ("delivered", "n-1"),
        ("dead", "OneSignal has no subscribed device of this external_id"),
    ]


def test_a_200_without_an_id_sent_nothing() -> None:
    body = {"id": "", "errors": ["All included players are not subscribed"]}

    assert judged(200, body, outbound(1)) == [
        ("dead", "OneSignal sent no notification: All included players are not subscribed")
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"id": ', b"[]", b"{}", b'{"id": 7}', b"\xff"])
def test_an_unreadable_200_is_tried_again(body: bytes) -> None:
    assert [verdict for verdict, _ in judged(200, body, outbound(1))] == ["retry"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 202])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    assert [verdict for verdict, _ in judged(status, {}, outbound(1))] == ["retry"]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410, 413])
def test_any_other_refusal_is_dead(status: int) -> None:
    assert judged(status, {"errors": ["app_id not found"]}, outbound(1)) == [
        ("dead", f"OneSignal answered {status}: app_id not found")
    ]


def test_a_reason_names_nobody() -> None:
    body = {"errors": {"invalid_aliases": {"external_id": ["user-1"]}}}

    assert "user-1" not in str(judged(400, body, outbound(1)))


@given(st.binary(max_size=200), st.integers(200, 599))
def test_any_answer_is_judged_for_every_record(body: bytes, status: int) -> None:
    assert len(judged(status, body, outbound(1), outbound(2))) == 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"app_id": "x"}, "settings.app_id is not a UUID"),
        ({"contents": "Hello"}, "settings.contents is not a text for each language"),
        ({"contents": {}}, "settings.contents is not a text for each language"),
        ({"base_url": "ftp://h"}, "settings.base_url has another scheme"),
        ({"base_url": "http://u:p@h"}, "settings.base_url has another scheme, user"),
        ({"base_url": "http://h:99999"}, "settings.base_url is not a URL"),
        ({"base_url": "http://h/\r\nx"}, "settings.base_url is not a URL"),
        ({"colour": "red"}, "settings.colour does not exist; there are: app_id, base_url"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], complaint: str) -> None:
    config = CONFIG._replace(settings={**CONFIG.settings, **settings})
    with pytest.raises(ValueError, match=f"^connection 'push': {complaint}"):
        CONNECTOR.check(config)


def test_a_missing_or_unusable_key_is_named_and_not_shown() -> None:
    CONNECTOR.check(CONFIG)
    with pytest.raises(ValueError, match=r"secrets.api_key is missing"):
        CONNECTOR.check(CONFIG._replace(secrets={}))
    with pytest.raises(ValueError, match=r"secrets.api_key goes into an HTTP header") as caught:
        CONNECTOR.check(CONFIG._replace(secrets={"api_key": "se cret"}))
    assert "se cret" not in str(caught.value)
