"""The public `segment-analytics-python` package, unchanged, pointed here by its `host` option."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from segment.analytics.client import Client

from tests.integration.conftest import WRITE_KEY, Roundtrip


@pytest.mark.parametrize("gzip", [False, True], ids=["plain", "gzip"])
def test_every_call_of_the_package_is_in_the_log_once_flushed(roundtrip: Roundtrip, gzip: bool) -> None:
    faults: list[object] = []
    client = Client(WRITE_KEY, host=roundtrip.url, gzip=gzip, on_error=lambda error, _: faults.append(error))
    user = f"user-{uuid.uuid4()}"
    ids = {kind: str(uuid.uuid4()) for kind in ("identify", "track", "page", "screen", "group", "alias")}

    client.identify(user, {"plan": "pro"}, message_id=ids["identify"])
    client.track(user, "Order Completed", {"total": 12.5}, message_id=ids["track"])
    client.page(user, "Docs", "Start", {"path": "/start"}, message_id=ids["page"])
    client.screen(user, "Main", "Home", {"dark": True}, message_id=ids["screen"])
    client.group(user, "group-1", {"size": 3}, message_id=ids["group"])
    client.alias(f"old-{user}", user, message_id=ids["alias"])
    client.flush()
    client.join()

    assert faults == []
    for kind, message_id in ids.items():
        [record] = roundtrip.rows(message_id)
        assert record["type"] == kind
        assert ["user_id", user] in record["identifiers"]
    [track] = roundtrip.rows(ids["track"])
    assert track["name"] == "Order Completed"
    assert track["body"]["properties"] == {"total": 12.5}


def test_what_a_client_sends_again_is_in_the_log_once(roundtrip: Roundtrip) -> None:
    message_id = str(uuid.uuid4())
    for _ in range(3):
        client = Client(WRITE_KEY, host=roundtrip.url)
        client.track("user-again", "Order Completed", message_id=message_id)
        client.flush()
        client.join()
    assert len(roundtrip.rows(message_id)) == 1


def test_the_client_is_told_of_a_wrong_write_key(roundtrip: Roundtrip) -> None:
    faults: list[Exception] = []
    client = Client("no-such-key", host=roundtrip.url, on_error=lambda error, _: faults.append(error))
    client.track("user-refused", "Order Completed")
    client.flush()
    client.join()
    assert len(faults) == 1
    assert "401" in str(faults[0]) or "unauthorized" in str(faults[0]).lower()


def test_the_clock_of_a_client_that_is_wrong_is_corrected(roundtrip: Roundtrip) -> None:
    message_id = str(uuid.uuid4())
    now = datetime.now(UTC)
    an_hour_off = now - timedelta(hours=1)
    response = roundtrip.http.post(
        "/v1/batch",
        auth=(WRITE_KEY, ""),
        json={
            "sentAt": an_hour_off.isoformat(),
            "batch": [
                {
                    "type": "track",
                    "event": "Seen",
                    "userId": "skewed",
                    "messageId": message_id,
                    "timestamp": (an_hour_off - timedelta(minutes=5)).isoformat(),
                }
            ],
        },
    )
    assert response.status_code == 200
    [record] = roundtrip.rows(message_id)
    meant = now - timedelta(minutes=5)
    assert abs(record["occurred_at"] / 1e6 - meant.timestamp()) < 5


@pytest.mark.parametrize(
    ("path", "kind"),
    [("t", "track"), ("i", "identify"), ("p", "page"), ("s", "screen"), ("g", "group"), ("a", "alias")],
)
def test_the_browser_clients_short_paths_are_the_same_calls(
    roundtrip: Roundtrip, path: str, kind: str
) -> None:
    message_id = str(uuid.uuid4())
    call = {"writeKey": WRITE_KEY, "messageId": message_id, "userId": "short", "event": "Seen"}
    response = roundtrip.http.post(f"/v1/{path}", json=call, headers={"Content-Type": "text/plain"})
    assert response.json() == {"success": True}
    [record] = roundtrip.rows(message_id)
    assert record["type"] == kind


def test_a_page_of_another_origin_may_call_and_read_the_refusal(roundtrip: Roundtrip) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    preflight = roundtrip.http.options("/v1/batch", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    refused = roundtrip.http.post("/v1/t", content=b"{", headers={"Origin": "https://shop.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "*"
    assert "Retry-After" in refused.headers["access-control-expose-headers"]


def test_a_page_of_another_origin_may_not_read_what_an_operator_asks(roundtrip: Roundtrip) -> None:
    response = roundtrip.http.get("/v1/status", headers={"Origin": "https://shop.example"})
    assert "access-control-allow-origin" not in response.headers


def test_the_browser_client_is_not_given_settings_for_a_key_nobody_has(roundtrip: Roundtrip) -> None:
    assert roundtrip.http.get("/v1/projects/no-such-key/settings").status_code == 404
