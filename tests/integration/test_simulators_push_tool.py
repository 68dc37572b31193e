"""The push tool as its users meet it: a process of its own, over HTTP, killed and started again."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1, uuid4, uuid5

import httpx2
import pytest

from tests.integration.simulating import Receiver, Simulator, receiving, running
from tests.servers import wait_until

APP = "8250eaf6-1a58-489e-b136-7c74a864b434"
OPTIONS = ("--api-key", "the-key", "--app-id", APP, "--webhook-secret", "s3cret")
KEY = {"authorization": "Key the-key"}
START = "2026-01-05T02:00:00Z"
PEOPLE = [
    {"external_id": "opens", "outcome": "delivered", "opens_after_s": 5400},
    {"external_id": "ignores", "outcome": "delivered", "opens_after_s": None},
    {"external_id": "bounces", "outcome": "bounced", "opens_after_s": None},
]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def tool(tmp_path: Path, receiver: Receiver) -> Iterator[Simulator]:
    with running("push_tool", tmp_path, *OPTIONS, "--webhook-url", receiver.url) as tool:
        set_up(tool)
        yield tool


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """For tests that look at nothing but people of their own."""
    with running("push_tool", tmp_path_factory.mktemp("shared"), *OPTIONS) as tool:
        names = ("often", "once", "known")
        tool.post(
            "behaviours", [{"external_id": n, "outcome": "bounced", "opens_after_s": None} for n in names]
        )
        yield tool


def set_up(tool: Simulator) -> None:
    tool.post("behaviours", PEOPLE)
    tool.post("clock", {"now": START})


def body(*external_ids: str, **more: Any) -> dict[str, Any]:
    return {
        "app_id": APP,
        "target_channel": "push",
        "include_aliases": {"external_id": list(external_ids)},
        "contents": {"en": "Welcome"},
        "data": {"outbound_batch": "b-1"},
        **more,
    }


def send(tool: Simulator, *external_ids: str, **more: Any) -> httpx2.Response:
    return tool.http.post("/notifications?c=push", json=body(*external_ids, **more), headers=KEY)


def wait_for_quiet(tool: Simulator) -> None:
    wait_until(lambda: tool.get("status")["webhooks"]["pending"] == 0, "no webhook is pending")


def kinds(events: list[dict[str, Any]], external_id: str) -> list[str]:
    own = [event["event"] for event in events if event["event"]["external_id"] == external_id]
    return [event["kind"].removeprefix("message.push.") for event in own]


def test_messages_are_sent_and_their_engagement_called_back(tool: Simulator, receiver: Receiver) -> None:
    answer = send(tool, "opens", "ignores", "bounces")

    assert answer.status_code == 200
    notification_id = answer.json()["id"]
    assert answer.json() == {"id": notification_id, "external_id": None}
    wait_for_quiet(tool)
    events = receiver.events()
    assert kinds(events, "opens") == kinds(events, "ignores") == ["sent", "received"]
    assert kinds(events, "bounces") == ["failed"]
    sent = next(e for e in events if e["event"]["kind"] == "message.push.sent")
    assert sent["event"]["timestamp"] == 1767578400
    assert sent["event"]["datetime"] == "2026-01-05T02:00:00.000Z"
    assert sent["event"]["app_id"] == APP
    assert sent["event"]["data"] == {"outbound_batch": "b-1"}
    assert sent["message"] == {"id": notification_id, "name": "", "template_id": ""}
    assert UUID(sent["event"]["id"]).version == 4
    assert len({event["event"]["id"] for event in events}) == len(events) == 5
    assert all(headers["x-roundtrip-secret"] == "s3cret" for headers, _ in receiver.requests)

    tool.post("clock", {"now": "2026-01-05T03:29:59Z"})
    wait_for_quiet(tool)
    assert len(receiver.events()) == 5
    assert tool.get("status")["webhooks"]["scheduled"] == 1

    tool.post("clock", {"now": "2026-01-05T04:00:00Z"})
    wait_for_quiet(tool)
    clicked = receiver.events()[-1]["event"]
    assert (clicked["kind"], clicked["external_id"]) == ("message.push.clicked", "opens")
    assert clicked["timestamp"] == 1767578400 + 5400

    messages = tool.get("messages")
    assert messages["opens"]["notification_id"] == notification_id
    assert messages["opens"]["count"] == 1
    assert messages["opens"]["sent_at"] == "2026-01-05T02:00:00.000Z"
    assert messages["opens"]["data"] == {"outbound_batch": "b-1"}
    status = tool.get("status")
    assert status["messages_sent"] == 3
    assert status["events"] == {
        "message.push.clicked": 1,
        "message.push.failed": 1,
        "message.push.received": 2,
        "message.push.sent": 2,
    }
    assert status["webhooks"] == {"pending": 0, "scheduled": 0, "sent": 6, "failed": 0}


def test_the_same_key_has_the_same_answer_and_no_second_effect(tool: Simulator) -> None:
    key = str(uuid4())
    first = send(tool, "opens", idempotency_key=key)
    again = send(tool, "opens", "ignores", idempotency_key=key.upper())

    assert first.json()["external_id"] == key
    assert again.status_code == 200
    assert again.content == first.content
    status = tool.get("status")
    assert (status["notifications"], status["messages_sent"], status["replayed_requests"]) == (1, 1, 1)
    assert set(tool.get("messages")) == {"opens"}


def test_who_gets_more_than_one_message_is_counted_once(shared: Simulator) -> None:
    for _ in range(3):
        send(shared, "often", "often", idempotency_key=str(uuid4()))
    send(shared, "once")

    assert shared.get("messages")["often"]["count"] == 3
    assert shared.get("messages")["once"]["count"] == 1
    assert shared.get("status")["duplicate_messages"] == 1


def test_unknown_people_are_named_and_the_others_sent_to(shared: Simulator) -> None:
    answer = send(shared, "nobody", "known").json()

    assert answer["errors"] == {"invalid_aliases": {"external_id": ["nobody"]}}
    assert UUID(answer["id"]).version == 4
    assert "nobody" not in shared.get("messages")
    assert shared.get("messages")["known"]["notification_id"] == answer["id"]


REFUSED = {
    "app_id": body("opens", app_id=str(uuid4())),
    "unknown_field": body("opens", contens={"en": "typo"}),
    "target_channel": body("opens", target_channel="email"),
    "too_many": body(*(f"u{n}" for n in range(20_001))),
    "target": {**body("opens"), "include_aliases": {"external_id": "opens"}},
    "contents": body("opens", contents={"de": "Hallo"}),
    "idempotency_key": body("opens", idempotency_key=str(uuid5(uuid4(), "x"))),
    "data": body("opens", data={"text": "x" * 3000}),
}


def test_what_the_vendor_refuses_is_refused_without_effect(tool: Simulator) -> None:
    for request in REFUSED.values():
        answer = tool.http.post("/notifications", json=request, headers=KEY)
        assert answer.status_code == 400
        assert list(answer.json()) == ["errors"]
        assert isinstance(answer.json()["errors"][0], str)
    for key in (str(uuid1()), "batch-7", 7):
        assert send(tool, "opens", idempotency_key=key).status_code == 400
    assert tool.http.post("/notifications", content=b'{"app_id":', headers=KEY).status_code == 400
    for headers in ({}, {"authorization": "Key wrong"}, {"authorization": "Basic the-key"}):
        answer = tool.http.post("/notifications", json=body("opens"), headers=headers)
        assert answer.status_code == 401
        assert answer.json()["errors"][0].startswith("Access denied.")

    status = tool.get("status")
    counted = dict.fromkeys(REFUSED, 1) | {"idempotency_key": 4, "malformed": 1, "access_denied": 3}
    assert status["rejected"] == counted
    assert status["messages_sent"] == 0


def test_a_refused_webhook_is_repeated_with_the_same_events_in_order(
    tool: Simulator, receiver: Receiver
) -> None:
    receiver.script = [500, 401, 429]
    send(tool, "opens", "ignores")
    tool.post("clock", {"now": "2026-01-05T06:00:00Z"})
    wait_for_quiet(tool)

    assert receiver.answered[:3] == [500, 401, 429]
    first = [event["event"]["id"] for event in receiver.events(500)]
    taken = receiver.events()
    assert [event["event"]["id"] for event in taken][: len(first)] == first
    assert len({event["event"]["id"] for event in taken}) == len(taken) == 5
    assert kinds(taken, "opens") == ["sent", "received", "clicked"]
    assert tool.get("status")["webhooks"]["failed"] == 3


def test_a_kill_loses_no_webhook_and_doubles_no_message(tmp_path: Path, receiver: Receiver) -> None:
    key = str(uuid4())
    with running("push_tool", tmp_path, *OPTIONS, "--webhook-url", receiver.url) as tool:
        set_up(tool)
        receiver.script = [503] * 1000
        answer = send(tool, "opens", "bounces", idempotency_key=key)
        wait_until(lambda: len(receiver.answered) >= 2, "the webhook was tried")
        tool.end(signal.SIGKILL)
    receiver.script = []
    # The webhook's address is remembered: nothing names it here.
    with running("push_tool", tmp_path, *OPTIONS) as tool:
        wait_for_quiet(tool)
        assert send(tool, "opens", "bounces", idempotency_key=key).content == answer.content
        status = tool.get("status")
        assert status["clock"] == "2026-01-05T02:00:00.000Z"
        assert status["webhooks"]["scheduled"] == 1
        assert (status["messages_sent"], status["duplicate_messages"]) == (2, 0)
    refused = {event["event"]["id"] for event in receiver.events(503)}
    taken = [event["event"]["id"] for event in receiver.events()]
    assert sorted(taken) == sorted(refused)


def test_kills_in_the_middle_of_requests_leave_exactly_one_effect_each(
    tmp_path: Path, receiver: Receiver
) -> None:
    people = [{"external_id": f"u{n}", "outcome": "delivered", "opens_after_s": None} for n in range(150)]
    keys = {f"u{n}": str(uuid4()) for n in range(150)}
    answers: dict[str, list[bytes]] = {one: [] for one in keys}

    def send_all(tool: Simulator) -> None:
        for one, key in keys.items():
            try:
                answers[one].append(send(tool, one, idempotency_key=key).raise_for_status().content)
            except (httpx2.TransportError, RuntimeError):
                return

    def in_full_swing(before: int) -> bool:
        return len(receiver.events()) > before + 40

    for _ in range(2):
        with running("push_tool", tmp_path, *OPTIONS, "--webhook-url", receiver.url) as tool:
            tool.post("behaviours", people)
            before = len(receiver.events())
            sending = threading.Thread(target=send_all, args=(tool,))
            sending.start()
            wait_until(partial(in_full_swing, before), "it is in full swing")
            tool.process.kill()
            sending.join()
            tool.process.wait(10)
    with running("push_tool", tmp_path, *OPTIONS) as tool:
        send_all(tool)
        wait_for_quiet(tool)
        messages = tool.get("messages")
        assert {one: messages[one]["count"] for one in keys} == dict.fromkeys(keys, 1)
        assert tool.get("status")["duplicate_messages"] == 0
    assert all(len(set(said)) == 1 for said in answers.values())
    ids = {event["event"]["id"]: event["event"] for event in receiver.events()}
    per_person = Counter((event["external_id"], event["kind"]) for event in ids.values())
    assert len(per_person) == 300
    assert set(per_person.values()) == {1}


def test_scripted_faults_are_met_in_order(tool: Simulator) -> None:
    key = str(uuid4())
    script = [
        {"status": 503, "retry_after": 1},
        {"status": 429, "retry_after": "soon"},
        {"drop": True},
        {"drop_after_commit": True},
    ]
    assert tool.post("faults", {"next": script}) == {"scripted": 4}

    unavailable = send(tool, "opens", idempotency_key=key)
    assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "1")
    limited = send(tool, "opens", idempotency_key=key)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "soon")
    assert limited.json() == {"errors": ["API rate limit exceeded"]}
    with pytest.raises(httpx2.TransportError):
        send(tool, "opens", idempotency_key=key)
    assert tool.get("status")["messages_sent"] == 0
    with pytest.raises(httpx2.TransportError):
        send(tool, "opens", idempotency_key=key)
    assert tool.get("status")["messages_sent"] == 1
    assert send(tool, "opens", idempotency_key=key).status_code == 200

    status = tool.get("status")
    assert status["rejected"] == {"fault_429": 1, "fault_503": 1}
    assert (status["messages_sent"], status["replayed_requests"]) == (1, 1)


def test_unusable_scripts_are_refused_with_what_is_wrong(shared: Simulator) -> None:
    wrong = {
        "faults": ({"next": [{"status": 200}]}, "next[0].status 200"),
        "clock": ({"now": "2026-01-05T00:00:00"}, "RFC 3339"),
        "webhook": ({"url": "file:///etc/passwd", "secret": "s"}, "http"),
        "behaviours": ([{"external_id": "a", "outcome": "lost", "opens_after_s": None}], "[0].outcome"),
    }
    for what, (script, said) in wrong.items():
        answer = shared.http.post(f"/simulate/{what}", json=script)
        assert answer.status_code == 400
        assert said in answer.json()["error"]


def test_the_clock_never_goes_back(shared: Simulator) -> None:
    assert shared.post("clock", {"now": "2026-01-05T04:00:00Z"}) == {"clock": "2026-01-05T04:00:00.000Z"}
    assert shared.post("clock", {"now": START}) == {"clock": "2026-01-05T04:00:00.000Z"}


def test_a_webhook_set_later_gets_what_has_waited_one_event_a_request(
    tmp_path: Path, receiver: Receiver
) -> None:
    with running("push_tool", tmp_path, *OPTIONS, "--webhook-batch", "1") as tool:
        set_up(tool)
        send(tool, "ignores", name="welcome", template_id=None)
        assert tool.get("status")["webhooks"]["pending"] == 2
        tool.post("webhook", {"url": receiver.url, "secret": "other"})
        wait_for_quiet(tool)
        bodies = [said for _, said in receiver.requests]
        assert [said["event"]["kind"] for said in bodies] == ["message.push.sent", "message.push.received"]
        assert bodies[0]["message"]["name"] == "welcome"
        assert receiver.requests[0][0]["x-roundtrip-secret"] == "other"
