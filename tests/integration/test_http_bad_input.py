"""Bad input has its answer: a problem that says what was wrong, and nothing of it in the log."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from standardwebhooks.webhooks import Webhook

from tests.integration.conftest import PUSH_SECRET, TOOLS_SECRET, WRITE_KEY, Roundtrip

AUTH = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
TRACK: dict[str, Any] = {"type": "track", "event": "Seen", "userId": "bad-input"}


def track(**changes: Any) -> bytes:
    return json.dumps(TRACK | changes).encode()


def batch(*items: Any) -> bytes:
    return json.dumps({"batch": list(items)}).encode()


BODIES: dict[str, tuple[str, bytes, dict[str, str], int]] = {
    "empty body": ("/v1/track", b"", {}, 400),
    "truncated JSON": ("/v1/track", b'{"event": "Se', {}, 400),
    "NaN": ("/v1/track", b'{"event":"Seen","userId":"u","properties":{"a":NaN}}', {}, 400),
    "Infinity": ("/v1/track", b'{"event":"Seen","userId":"u","properties":{"a":Infinity}}', {}, 400),
    "invalid UTF-8": ("/v1/track", b'{"event":"\xff\xfe","userId":"u"}', {}, 400),
    "lone surrogate": ("/v1/track", b'{"event":"Seen","userId":"u","properties":{"a":"\\ud800"}}', {}, 400),
    "lone surrogate for a name": (
        "/v1/track",
        b'{"event":"Seen","userId":"u","properties":{"\\udc00":1}}',
        {},
        400,
    ),
    "duplicate keys": ("/v1/track", b'{"event":"Seen","userId":"u","userId":"v"}', {}, 400),
    "nested 100,000 deep": ("/v1/track", b'{"properties":' + b'{"a":' * 100_000, {}, 400),
    "nested 100 deep": ("/v1/track", track(properties=json.loads('{"a":' * 100 + "1" + "}" * 100)), {}, 400),
    "corrupt gzip": ("/v1/batch", b"\x1f\x8b nonsense", {"Content-Encoding": "gzip"}, 400),
    "gzip cut off": ("/v1/batch", gzip.compress(batch(TRACK))[:-4], {"Content-Encoding": "gzip"}, 400),
    "U+0000": ("/v1/track", track(properties={"a": "x\x00y"}), {}, 422),
    "integer of 10,000 digits": (
        "/v1/track",
        b'{"event":"Seen","userId":"u","properties":{"a":' + b"9" * 10_000 + b"}}",
        {},
        422,
    ),
    "integer beyond 64 bits": ("/v1/track", track(properties={"a": {"b": 2**63}}), {}, 422),
    "number beyond a double": (
        "/v1/track",
        b'{"event":"Seen","userId":"u","properties":{"a":1e400}}',
        {},
        422,
    ),
    "array for the properties": ("/v1/track", track(properties=[1]), {}, 422),
    "array for the call": ("/v1/track", b"[]", {}, 422),
    "no identifier": ("/v1/track", b'{"event":"Seen","anonymousId":null}', {}, 422),
    "identifier of the wrong type": ("/v1/track", track(userId={"id": 1}), {}, 422),
    "identifier too long": ("/v1/track", track(userId="x" * 513), {}, 422),
    "identifier with U+0000": ("/v1/track", track(userId="a\x00b"), {}, 422),
    "identifier of more than 64 bits": ("/v1/track", track(userId=10**30), {}, 422),
    "no event": ("/v1/track", b'{"userId":"u"}', {}, 422),
    "unknown type": ("/v1/batch", batch(TRACK | {"type": "dance"}), {}, 422),
    "batch that is none": ("/v1/batch", b'{"batch": 3}', {}, 422),
    "unreadable timestamp": ("/v1/track", track(timestamp="yesterday"), {}, 422),
    "year 99999": ("/v1/track", track(timestamp="99999-01-01T00:00:00Z"), {}, 422),
    "consent that is none": (
        "/v1/track",
        track(context={"consent": {"categoryPreferences": {"push": "maybe"}}}),
        {},
        422,
    ),
    "document of a consent that is none": (
        "/v1/track",
        track(context={"consent": {"categoryPreferences": {"push": True}, "document": ["v2"]}}),
        {},
        422,
    ),
    "event over 32 KB": ("/v1/track", track(properties={"a": "x" * 33_000}), {}, 413),
    "event over 32 KB in a batch": ("/v1/batch", batch(TRACK | {"x": "x" * 33_000}), {}, 413),
    "body over 500 KB": ("/v1/batch", batch(*[TRACK | {"x": "x" * 30_000}] * 20), {}, 413),
    "gzip bomb": ("/v1/batch", gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, 413),
    "unknown encoding": ("/v1/batch", b"x", {"Content-Encoding": "br"}, 415),
}


def assert_problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["type"].startswith("/problems/")
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


@pytest.mark.parametrize("case", BODIES)
def test_bad_body_is_refused_and_leaves_nothing(roundtrip: Roundtrip, case: str) -> None:
    path, body, headers, status = BODIES[case]
    before = roundtrip.position()
    response = roundtrip.http.post(
        path, content=body, headers=AUTH | {"Content-Type": "application/json"} | headers
    )
    problem = assert_problem(response, status)
    assert (
        all(set(error) == {"pointer", "code", "detail"} for error in problem["errors"])
        if "errors" in problem
        else True
    )
    assert roundtrip.position() == before
    assert roundtrip.http.get("/healthz").status_code == 200


def test_a_batch_of_bad_calls_alone_is_refused_and_every_one_is_pointed_at(roundtrip: Roundtrip) -> None:
    before = roundtrip.position()
    body = batch({"type": "track", "event": "Seen"}, {"type": "x", "userId": "u"})
    problem = assert_problem(roundtrip.http.post("/v1/batch", content=body, headers=AUTH), 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/batch/0", "/batch/1/type"]
    assert roundtrip.position() == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic " + base64.b64encode(b"nobody:").decode()},
        {"Authorization": "Basic %%%"},
        {"Authorization": f"Bearer {WRITE_KEY}"},
    ],
    ids=["none", "unknown", "not base64", "wrong scheme"],
)
def test_a_write_key_nobody_has_is_unauthorized(roundtrip: Roundtrip, headers: dict[str, str]) -> None:
    response = roundtrip.http.post("/v1/track", content=track(), headers=headers)
    problem = assert_problem(response, 401)
    assert "WWW-Authenticate" in response.headers
    assert WRITE_KEY not in json.dumps(problem)


def test_the_write_key_may_stand_in_the_body(roundtrip: Roundtrip) -> None:
    message_id = str(uuid.uuid4())
    response = roundtrip.http.post("/v1/track", content=track(writeKey=WRITE_KEY, messageId=message_id))
    assert response.status_code == 200
    assert len(roundtrip.rows(message_id)) == 1


def test_a_chunked_body_is_cut_off_at_the_limit(roundtrip: Roundtrip) -> None:
    place = urlsplit(roundtrip.url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        head = "POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        head += f"Authorization: {AUTH['Authorization']}\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(10):
            connection.sendall(chunk)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/v1/track", 405), ("POST", "/v1/feeds/unknown", 404)],
)
def test_wrong_addresses_and_methods(roundtrip: Roundtrip, method: str, path: str, status: int) -> None:
    response = roundtrip.http.request(method, path)
    assert_problem(response, status)
    assert status != 405 or response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, AUTH], ids=["none", "wrong", "basic"]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/status"), ("POST", "/v1/clock")])
def test_an_operators_surface_needs_the_token(
    roundtrip: Roundtrip, method: str, path: str, headers: dict[str, str]
) -> None:
    response = roundtrip.http.request(method, path, headers=headers)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_wall_clock_is_not_told_the_time(roundtrip: Roundtrip) -> None:
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    response = roundtrip.http.post("/v1/clock", json={"to": "2030-01-01T00:00:00Z"}, headers=token)
    assert_problem(response, 409)


def push_event(event_id: str) -> dict[str, Any]:
    return {
        "event": {
            "kind": "message.push.clicked",
            "id": event_id,
            "timestamp": int(time.time()),
            "external_id": "pushed",
            "data": {"outbound_batch": "b-1"},
        },
        "message": {"id": "n-1"},
    }


def test_push_engagement_comes_in_once_under_our_words(roundtrip: Roundtrip) -> None:
    event_id = str(uuid.uuid4())
    headers = {"X-Roundtrip-Secret": PUSH_SECRET}
    first = roundtrip.http.post("/v1/feeds/engagement", json=[push_event(event_id)], headers=headers)
    again = roundtrip.http.post("/v1/feeds/engagement", json=push_event(event_id), headers=headers)
    assert (first.json(), again.json()) == (
        {"accepted": 1, "duplicates": 0},
        {"accepted": 0, "duplicates": 1},
    )
    [record] = roundtrip.rows(event_id)
    assert record["name"] == "Push Opened"
    assert record["identifiers"] == [["user_id", "pushed"]]
    assert record["properties"]["message_id"] == "n-1"
    assert record["properties"]["outbound_batch"] == "b-1"
    assert record["body"]["event"]["kind"] == "message.push.clicked"


@pytest.mark.parametrize("headers", [{}, {"X-Roundtrip-Secret": "guess"}], ids=["none", "wrong"])
def test_push_engagement_without_the_secret_is_refused(roundtrip: Roundtrip, headers: dict[str, str]) -> None:
    event_id = str(uuid.uuid4())
    response = roundtrip.http.post("/v1/feeds/engagement", json=push_event(event_id), headers=headers)
    problem = assert_problem(response, 401)
    assert PUSH_SECRET not in json.dumps(problem)
    assert roundtrip.rows(event_id) == []


def signed(message_id: str, at: datetime, body: str) -> dict[str, str]:
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(TOOLS_SECRET).sign(message_id, at, body),
    }


TOOL_BODY = json.dumps({"type": "invoice.paid", "data": {"user_id": "payer", "amount": 7}})


def test_a_signed_webhook_comes_in_once(roundtrip: Roundtrip) -> None:
    message_id = f"msg_{uuid.uuid4()}"
    headers = signed(message_id, datetime.now(UTC), TOOL_BODY)
    for new in (1, 0):
        response = roundtrip.http.post("/v1/feeds/tools", content=TOOL_BODY, headers=headers)
        assert response.json() == {"accepted": new, "duplicates": 1 - new}
    [record] = roundtrip.rows(message_id)
    assert record["name"] == "invoice.paid"


@pytest.mark.parametrize("fault", ["other body", "old", "other signature", "no signature"])
def test_a_webhook_whose_signature_does_not_hold_is_refused(roundtrip: Roundtrip, fault: str) -> None:
    message_id = f"msg_{uuid.uuid4()}"
    at = datetime.fromtimestamp(time.time() - 400, UTC) if fault == "old" else datetime.now(UTC)
    headers = signed(message_id, at, TOOL_BODY)
    if fault == "other signature":
        headers["webhook-signature"] = "v1," + base64.b64encode(b"x" * 32).decode()
    if fault == "no signature":
        del headers["webhook-signature"]
    body = TOOL_BODY.replace("7", "8") if fault == "other body" else TOOL_BODY
    assert_problem(roundtrip.http.post("/v1/feeds/tools", content=body, headers=headers), 401)
    assert roundtrip.rows(message_id) == []


def test_a_body_that_says_it_is_something_else_than_json_is_refused(roundtrip: Roundtrip) -> None:
    headers = AUTH | {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(roundtrip.http.post("/v1/track", content=track(), headers=headers), 415)


def test_a_time_in_the_future_counts_as_now_and_is_marked(roundtrip: Roundtrip) -> None:
    message_id = str(uuid.uuid4())
    body = track(messageId=message_id, timestamp="2999-01-01T00:00:00Z")
    assert roundtrip.http.post("/v1/track", content=body, headers=AUTH).status_code == 200
    [record] = roundtrip.rows(message_id)
    assert record["violations"] == ["/occurred_at in_the_future"]
    assert record["body"]["timestamp"] == "2999-01-01T00:00:00Z"


def test_a_body_that_declares_more_than_there_is_room_for_at_all_is_not_asked_for_again(
    roundtrip: Roundtrip,
) -> None:
    place = urlsplit(str(roundtrip.http.base_url))
    head = f"POST /v1/batch HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {AUTH['Authorization']}\r\n"
    with socket.create_connection((place.hostname, place.port or 80), timeout=10) as connection:
        connection.sendall((head + f"Content-Length: {2**30}\r\n\r\n").encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
