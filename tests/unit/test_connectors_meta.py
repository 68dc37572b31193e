"""The Meta Custom Audience connector: hashes, removals and adds, and what Graph's answers mean."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.connectors.connector import Answer, ConnectorConfig, Judgement, Request
from adapters.connectors.meta_custom_audience import CONNECTOR, hashed
from domain.outbound import Outbound

CONFIG = ConnectorConfig(
    "ads", {"base_url": "http://127.0.0.1:1", "audience_id": "23842000000000001"}, {"access_token": "EAAB"}
)


def outbound(number: int, change: str = "add", email: object = None) -> Outbound:
    return Outbound(
        id=f"00000000-0000-5000-8000-{number:012d}",
        connection="ads",
        batch="batch-1",
        profile=f"p{number}",
        audience="ignored",
        change=change,  # type: ignore[arg-type]
        fields={"email": f"user{number}@example.com" if email is None else email},
        cause=7,
        purpose="advertising",
    )


def sha(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def payload(request: Request) -> Any:
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert list(form) == ["payload", "session"]
    return msgspec.json.decode(form["payload"][0])


def judged(
    status: int, body: object, *records: Outbound, headers: dict[str, str] | None = None
) -> list[Judgement]:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    [request] = CONNECTOR.render(CONFIG, records)
    return CONNECTOR.judge(CONFIG, request, Answer(status, headers or {}, raw))


def verdicts(status: int, body: object, *records: Outbound) -> list[str]:
    return [one.verdict for one in judged(status, body, *records)]


def graph_error(code: int, **more: object) -> dict[str, object]:
    return {"error": {"message": "m", "type": "OAuthException", "code": code, **more}}


def test_an_address_is_trimmed_and_lowered_before_it_is_hashed() -> None:
    assert hashed("  Ada@Example.COM ") == sha("ada@example.com")


@pytest.mark.parametrize("value", ["", "  ", "ada", "@", "a@", "@b", "a@b@c", "a b@c", 7, None, ["a@b"]])
def test_what_is_no_address_is_in_no_request(value: object) -> None:
    record = msgspec.structs.replace(outbound(1), fields={"email": value})
    assert CONNECTOR.render(CONFIG, [record]) == []


def test_adds_are_posted_as_a_form() -> None:
    [request] = CONNECTOR.render(CONFIG, [outbound(1), outbound(2)])

    assert (request.method, request.url) == ("POST", "http://127.0.0.1:1/v25.0/23842000000000001/users")
    assert request.headers == {
        "authorization": "Bearer EAAB",
        "content-type": "application/x-www-form-urlencoded",
    }
    assert payload(request) == {
        "schema": ["EMAIL"],
        "data": [[sha("user1@example.com")], [sha("user2@example.com")]],
    }


def test_removals_are_a_request_of_their_own_and_come_first() -> None:
    changed = [outbound(1, "remove", "old@example.com"), outbound(2, "add", "new@example.com")]
    requests = CONNECTOR.render(CONFIG, changed)

    assert [(r.method, payload(r)["data"]) for r in requests] == [
        ("DELETE", [[sha("old@example.com")]]),
        ("POST", [[sha("new@example.com")]]),
    ]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["add", "remove"])), max_size=12))
def test_the_last_change_of_an_address_holds_and_all_records_go_along(changes: list[tuple[int, str]]) -> None:
    records = [outbound(n, change, f"u{who}@example.com") for n, (who, change) in enumerate(changes)]
    requests = CONNECTOR.render(CONFIG, records)

    sent = {row[0]: r.method for r in requests for row in payload(r)["data"]}
    last = {sha(f"u{who}@example.com"): {"add": "POST", "remove": "DELETE"}[c] for who, c in changes}
    assert sent == last
    assert sorted(o.id for r in requests for o in r.outbound) == [o.id for o in records]


def test_more_than_ten_thousand_are_several_requests() -> None:
    requests = CONNECTOR.render(CONFIG, [outbound(n) for n in range(10_001)])
    assert [len(payload(r)["data"]) for r in requests] == [10_000, 1]


def test_received_is_delivered() -> None:
    body = {"audience_id": "1", "num_received": 2, "num_invalid_entries": 0, "invalid_entry_samples": {}}
    assert verdicts(200, body, outbound(1), outbound(2)) == ["delivered", "delivered"]


@pytest.mark.parametrize(
    "samples",
    [
        {sha("user2@example.com"): "bad"},
        {"0": f'["{sha("user2@example.com")}"]'},
        [sha("user2@example.com")],
        [[sha("user2@example.com")]],
    ],
)
def test_a_named_invalid_entry_is_dead(samples: object) -> None:
    body = {"num_received": 2, "num_invalid_entries": 1, "invalid_entry_samples": samples}
    assert verdicts(200, body, outbound(1), outbound(2)) == ["delivered", "dead"]


def test_an_unnamed_invalid_entry_is_told_in_the_reason() -> None:
    body = {"num_received": 2, "num_invalid_entries": 1, "invalid_entry_samples": []}
    [first, _] = judged(200, body, outbound(1), outbound(2))
    assert first.verdict == "delivered"
    assert first.reason == "Meta could not use 1 of 2 entries and did not name them"


@pytest.mark.parametrize("body", [{"num_received": 0}, {"num_received": 1, "num_invalid_entries": 1}])
def test_nothing_used_is_dead(body: object) -> None:
    assert verdicts(200, body, outbound(1)) == ["dead"]


@pytest.mark.parametrize("code", [1, 2, 4, 17, 32, 341, 613, 80003])
def test_a_limit_or_an_outage_is_tried_again(code: int) -> None:
    assert verdicts(400, graph_error(code), outbound(1)) == ["retry"]
    assert verdicts(200, graph_error(code), outbound(1)) == ["retry"]


def test_a_transient_error_is_tried_again_whatever_its_code() -> None:
    assert verdicts(500, graph_error(2650, is_transient=True), outbound(1)) == ["retry"]


@pytest.mark.parametrize(("status", "code"), [(400, 100), (500, 100), (403, 200), (400, 2650), (404, 803)])
def test_any_other_error_is_dead(status: int, code: int) -> None:
    [one] = judged(status, graph_error(code, error_subcode=1713230), outbound(1))
    assert (one.verdict, one.reason) == ("dead", f"Meta answered {status} with error {code}/1713230")


def test_a_refused_token_is_tried_again_slowly() -> None:
    [one] = judged(401, graph_error(190), outbound(1))
    assert one.verdict == "retry"
    assert one.after_s == 110
    assert "renew" in one.reason
    assert "EAAB" not in one.reason


def test_a_limit_says_how_long_it_lasts() -> None:
    usage = '{"17": [{"type": "custom_audience", "call_count": 100, "estimated_time_to_regain_access": 3}]}'
    [one] = judged(400, graph_error(80003), outbound(1), headers={"x-business-use-case-usage": usage})
    assert one.after_s == 180


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "retry"), (408, "retry"), (429, "retry"), (503, "retry"), (301, "dead"), (404, "dead")],
)
def test_an_answer_that_is_not_graphs_is_judged_by_its_status(status: int, expected: str) -> None:
    assert verdicts(status, b"<html>", outbound(1)) == [expected]


@given(st.binary(max_size=200), st.integers(200, 599))
def test_any_answer_is_judged_for_every_record(body: bytes, status: int) -> None:
    assert len(judged(status, body, outbound(1), outbound(2))) == 2


def test_a_wrong_setting_is_named() -> None:
    CONNECTOR.check(CONFIG)
    with pytest.raises(ValueError, match=r"^connection 'ads': settings.audience_id is not Meta's number"):
        CONNECTOR.check(CONFIG._replace(settings={"audience_id": "../x"}))
