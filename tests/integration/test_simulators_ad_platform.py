"""The ad platform as its users meet it: a process of its own, over HTTP, killed and started again."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.simulating import Simulator, running

AUDIENCE = "23842000000000001"
USERS = f"/v25.0/{AUDIENCE}/users"
BEARER = {"authorization": "Bearer the-token"}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ADA, BELA = sha("ada@example.com"), sha("bela@example.com")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Simulator]:
    with running("ad_platform", tmp_path, "--token", "the-token") as platform:
        yield platform


def change(
    platform: Simulator, method: str, data: Any, schema: Any = ("EMAIL",), **more: Any
) -> httpx2.Response:
    schema = list(schema) if isinstance(schema, tuple) else schema
    form = {"payload": json.dumps({"schema": schema, "data": data})}
    form |= {name: json.dumps(value) for name, value in more.items()}
    return platform.http.request(method, USERS, data=form, headers=BEARER)


def members(platform: Simulator) -> set[str]:
    said = platform.get(f"audiences/{AUDIENCE}")["members"]
    return {member["value"] for member in said if member["member"]}


def test_people_are_added_and_removed(platform: Simulator) -> None:
    added = change(platform, "POST", [[ADA], [BELA]])
    assert added.status_code == 200
    said = added.json()
    assert said.pop("session_id").isdigit()
    assert said == {
        "audience_id": AUDIENCE,
        "num_received": 2,
        "num_invalid_entries": 0,
        "invalid_entry_samples": {},
    }
    assert members(platform) == {ADA, BELA}

    assert change(platform, "DELETE", [[ADA]]).json()["num_received"] == 1
    assert members(platform) == {BELA}
    ada = next(m for m in platform.get(f"audiences/{AUDIENCE}")["members"] if m["value"] == ADA)
    assert (ada["key"], ada["adds"], ada["removes"], ada["member"]) == ("EMAIL", 1, 1, False)
    assert platform.get("status")["audiences"] == {AUDIENCE: 1}


def test_json_a_token_parameter_and_several_keys_are_read(platform: Simulator) -> None:
    payload = {
        "schema": ["EMAIL", "FN", "EXTERN_ID"],
        "data": [[ADA, sha("ada"), "u-17"], ["", sha("x"), ""]],
    }
    said = {"payload": payload, "access_token": "the-token", "session": {"session_id": 7, "batch_seq": 1}}
    answer = platform.http.post(USERS, json=said)

    assert answer.json()["session_id"] == "7"
    assert answer.json()["num_received"] == 2
    assert "u-17" in members(platform)
    assert change(platform, "POST", [BELA], "EMAIL_SHA256").status_code == 200


def test_adding_a_member_again_is_counted_but_not_a_repeated_batch(platform: Simulator) -> None:
    session = {"session_id": 9, "batch_seq": 1, "last_batch_flag": True, "estimated_num_total": 1}
    for _ in range(2):
        assert change(platform, "POST", [[ADA]], session=session).status_code == 200
    status = platform.get("status")
    assert (status["duplicate_adds"], status["replayed_requests"]) == (0, 1)

    change(platform, "POST", [[ADA]])
    change(platform, "DELETE", [[BELA]])
    status = platform.get("status")
    assert (status["duplicate_adds"], status["needless_removes"], status["requests"]) == (1, 1, 4)


def test_blank_rows_are_counted_as_invalid_entries(platform: Simulator) -> None:
    said = change(platform, "POST", [[ADA], [""]]).json()

    assert (said["num_received"], said["num_invalid_entries"]) == (2, 1)
    assert said["invalid_entry_samples"] == {"1": '[""]'}


def test_what_the_vendor_refuses_is_refused_whole(platform: Simulator) -> None:
    plain = "carol@example.com"
    refused = [
        change(platform, "POST", [[ADA], [plain]]),
        change(platform, "POST", [[ADA.upper()]]),
        change(platform, "POST", [[ADA]], ("EMAILS",)),
        change(platform, "POST", [[ADA, ADA]]),
        change(platform, "POST", [[ADA]] * 10_001),
        change(platform, "POST", []),
        change(platform, "POST", [[ADA]], session={"session_id": "x", "batch_seq": 1}),
        platform.http.post(USERS, data={"payload": "{"}, headers=BEARER),
        platform.http.post(USERS, headers=BEARER),
        platform.http.post("/v25.0/mine/users", data={"payload": "{}"}, headers=BEARER),
    ]
    for answer in refused:
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("OAuthException", 100)
        assert error["message"] and error["fbtrace_id"]
        assert plain not in answer.text
    old = platform.http.post(f"/v3.0/{AUDIENCE}/users", data={"payload": "{}"}, headers=BEARER)
    assert (old.status_code, old.json()["error"]["code"]) == (400, 2635)
    for headers in ({}, {"authorization": "Bearer wrong"}):
        answer = platform.http.post(USERS, data={"payload": "{}"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)

    assert members(platform) == set()
    status = platform.get("status")
    assert status["rejected"]["not_hashed"] == 2
    assert status["rejected"]["bad_token"] == 2
    assert sum(status["rejected"].values()) == status["requests"] == 13


def test_scripted_faults_have_the_vendors_codes(platform: Simulator) -> None:
    script = [{"status": 400}, {"status": 429}, {"status": 400, "code": 80003}, {"status": 500}]
    platform.post("faults", {"next": [*script, {"drop_after_commit": True}]})

    met = [change(platform, "POST", [[ADA]]) for _ in script]
    assert [(one.status_code, one.json()["error"]["code"]) for one in met] == [
        (400, 17),
        (429, 613),
        (400, 80003),
        (500, 2),
    ]
    assert members(platform) == set()
    with pytest.raises(httpx2.TransportError):
        change(platform, "POST", [[ADA]])
    assert members(platform) == {ADA}


def test_a_kill_loses_nobody(tmp_path: Path) -> None:
    with running("ad_platform", tmp_path, "--token", "the-token") as platform:
        change(platform, "POST", [[sha(str(n))] for n in range(10_000)])
        before = platform.get("status")
        platform.end(signal.SIGKILL)
    with running("ad_platform", tmp_path, "--token", "the-token") as platform:
        assert platform.get("status") == before
        assert len(members(platform)) == 10_000
