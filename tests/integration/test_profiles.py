"""A person as the API and the command show them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from tests.integration.conftest import WRITE_KEY, Roundtrip
from tests.servers import REPOSITORY, wait_until


def send(roundtrip: Roundtrip, *calls: dict[str, Any]) -> None:
    answer = roundtrip.http.post("/v1/batch", json={"batch": list(calls)}, auth=(WRITE_KEY, ""))
    assert answer.status_code == 200, answer.text
    roundtrip.settle()


def ask(roundtrip: Roundtrip, who: str, token: str | None = None) -> Any:
    credentials = {"Authorization": f"Bearer {token or roundtrip.ours.token}"}
    return roundtrip.http.get(f"/v1/profiles/{quote(who, safe=':')}", headers=credentials)


def test_a_person_is_shown_with_what_decided_by_every_identifier(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    user, anonymous = f"u/{run}", f"a-{run}"
    at = "2026-01-05T02:00:00+00:00"
    says = {"messageId": f"who-{run}", "timestamp": at, "anonymousId": anonymous, "userId": user}
    preferences = {"categoryPreferences": {"push": True, "ads": False}}
    consent = {"consent": preferences | {"jurisdiction": "gdpr", "document": "2026-01"}}
    send(
        roundtrip,
        {"type": "identify", **says, "traits": {"plan": "pro", "seats": 3}, "context": consent},
        {"type": "track", "event": "Order Completed", "messageId": f"buy-{run}", "anonymousId": anonymous},
    )
    shown = ask(roundtrip, f"user_id:{user}").json()
    assert shown["identifiers"]["user_id"] == [{"value": user, "position": shown["created"]}]
    assert shown["identifiers"]["anonymous_id"] == [{"value": anonymous, "position": shown["created"]}]
    decided = {"priority": 10, "occurred_at": at, "position": shown["created"]}
    assert shown["attributes"] == {"plan": {"value": "pro", **decided}, "seats": {"value": 3, **decided}}
    said = {"occurred_at": at, "position": shown["created"], "feed": "app"}
    said |= {"jurisdiction": "gdpr", "document": "2026-01"}
    assert shown["consent"] == {
        "ads": {"given": False, **said},
        "newsletter": {"given": True, "by_default": True},
        "push": {"given": True, **said},
    }
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    path = f"/v1/profiles/anonymous_id:{anonymous}/timeline?before={shown['created'] + 1}"
    [record] = roundtrip.http.get(path, headers=token).json()["records"]
    terms = {"jurisdiction": "gdpr", "document": "2026-01"}
    assert record["said"]["consent_terms"] == {"ads": terms, "push": terms}
    assert shown["memberships"].keys() == {"buyers", "consenting"}
    assert shown["memberships"]["buyers"]["position"] == shown["latest"]
    assert shown["latest"] <= shown["position"]
    again = ask(roundtrip, f"anonymous_id:{anonymous}").json()
    assert again.pop("position") >= shown["position"]
    assert again.items() <= shown.items()


def test_the_command_shows_what_the_api_shows(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    email = f"Zoë.{run}@example.com"
    send(
        roundtrip,
        {"type": "identify", "userId": run, "messageId": run, "traits": {"email": email, "name": "Zoë"}},
    )
    said = command(roundtrip, "show", f"email:{email}")
    shown, api = json.loads(said.stdout), ask(roundtrip, f"user_id:{run}").json()
    assert shown.pop("position") <= api.pop("position")
    assert shown == api


def test_who_somebody_was_and_what_happened_is_told_by_api_and_command(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    who = f"user_id:u/{run}"
    plans = [
        {"type": "identify", "userId": f"u/{run}", "messageId": f"{n}-{run}", "traits": {"plan": n}}
        for n in (1, 2)
    ]
    for each in plans:
        send(roundtrip, each)
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    path = f"/v1/profiles/{quote(who, safe=':')}"

    def got(below: str, status: int = 200) -> Any:
        answer = roundtrip.http.get(f"{path}{below}", headers=token)
        assert answer.status_code == status, answer.text
        return answer.json()

    now = got("")
    then = got(f"?as_of={now['latest'] - 1}")
    assert (then["attributes"]["plan"]["value"], now["attributes"]["plan"]["value"]) == (1, 2)
    page = got("/timeline?limit=1")
    assert page["records"][0]["said"]["message_id"] == f"2-{run}"
    rest = got(f"/timeline?before={page['next']}")
    assert [one["record"] for one in rest["records"]] == ["profile.created", "identify."]
    values = got("/attributes/plan")["values"]
    assert [(one["value"], one["holds"]) for one in values] == [(2, True), (1, False)]
    assert got("?as_of=yesterday", 422)["errors"][0]["pointer"] == "/as_of"
    assert got("/timeline?limit=0", 422)["errors"][0]["pointer"] == "/limit"
    assert got("?as_of=1", 404)["instance"] == "/v1/profiles/"
    for below in ("/timeline", "/attributes/plan", "?as_of=1"):
        assert roundtrip.http.get(f"{path}{below}").status_code == 401
    for words, api in (
        (["timeline", who, "--limit", "1"], page),
        (["attribute", who, "plan"], None),
        (["show", who, "--as-of", str(now["latest"] - 1)], then),
    ):
        said = command(roundtrip, *words)
        assert api is None or json.loads(said.stdout) == api
    assert command(roundtrip, "show", who, "--as-of", "soon", code=2).stderr.startswith(
        "roundtrip: 'soon' is neither"
    )


def test_a_value_that_is_none_of_its_type_is_shown_with_the_reason_why_it_is_not_taken_in(
    roundtrip: Roundtrip,
) -> None:
    run = uuid4().hex
    says = {"type": "identify", "userId": run}
    for number, day in enumerate(("1990-05-17T12:00:00Z", "in spring")):
        send(roundtrip, {**says, "messageId": f"{number}-{run}", "traits": {"birthday": day, "plan": number}})
    assert {n: a["value"] for n, a in ask(roundtrip, f"user_id:{run}").json()["attributes"].items()} == {
        "birthday": "1990-05-17",
        "plan": 1,
    }
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    found = roundtrip.http.get(f"/v1/profiles/user_id:{run}/attributes/birthday", headers=token).json()
    assert [(one["value"], one["holds"], one.get("refused")) for one in found["values"]] == [
        ("1990-05-17", True, None),
        ("in spring", False, "expected is a day as 1990-05-17"),
    ]
    page = roundtrip.http.get(f"/v1/profiles/user_id:{run}/timeline?limit=1", headers=token).json()
    assert page["records"][0]["record"] == "attribute.refused"
    assert page["records"][0]["said"]["reason"] == "expected is a day as 1990-05-17"


def test_a_row_is_traced_to_what_followed_from_it_by_the_api(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    send(roundtrip, {"type": "track", "event": "Order Completed", "messageId": run, "userId": run})
    place = ask(roundtrip, f"user_id:{run}").json()["created"]
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    answer = roundtrip.http.get(f"/v1/trace/{place}", headers=token)
    assert answer.status_code == 200, answer.text
    circle = answer.json()["circle"]
    assert (circle["what"], circle["name"], circle["position"]) == ("record", "Order Completed", place)
    assert [(one["what"], one["name"]) for one in circle["then"]] == [("entered", "buyers")]
    for nothing in (uuid4(), 2**60, "x"):
        refused = roundtrip.http.get(f"/v1/trace/{nothing}", headers=token)
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")
    assert roundtrip.http.get(f"/v1/trace/{place}").status_code == 401


def test_audiences_say_who_is_in_them_and_why(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    buy = {"type": "track", "event": "Order Completed"}
    send(roundtrip, *({**buy, "messageId": f"{n}-{run}", "userId": f"{n}-{run}"} for n in range(3)))
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}

    def got(path: str, status: int = 200) -> Any:
        answer = roundtrip.http.get(f"/v1/audiences{path}", headers=token)
        assert answer.status_code == status, answer.text
        return answer.json()

    buyers = got("")["audiences"]["buyers"]["members"]
    assert buyers >= 3
    found, after = [], ""
    while True:
        page = got(f"/buyers/members?limit=2{after}")
        found += [one["profile"] for one in page["members"]]
        if "next" not in page:
            break
        after = f"&after={page['next']}"
    assert len(found) == len(set(found)) == got("")["audiences"]["buyers"]["members"]
    person = ask(roundtrip, f"user_id:0-{run}").json()
    assert person["profile"] in found
    why = got(f"/buyers/explain?who=user_id:0-{run}")
    assert why["member"] is True
    assert why["why"]["because"] == [person["created"]]
    assert got(f"/buyers/explain?who=user_id:0-{run}&as_of={person['created']}")["why"] == why["why"]
    assert got(f"/buyers/explain?who=user_id:0-{run}&as_of={person['created'] - 1}", 404)["status"] == 404
    assert "declared are" in got("/nobodys/members", 404)["detail"]
    assert got("/buyers/members?after=x", 422)["errors"][0]["pointer"] == "/after"
    assert got("/buyers/explain", 422)["errors"][0]["pointer"] == "/who"
    assert roundtrip.http.get("/v1/audiences").status_code == 401


def command(roundtrip: Roundtrip, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    said = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "profile", *words],
        env={**os.environ, "ROUNDTRIP_HOME": str(roundtrip.ours.home)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert said.returncode == code, said.stderr
    return said


def test_strangers_and_requests_without_token_are_told_nothing(roundtrip: Roundtrip) -> None:
    stranger = uuid4().hex
    for who, status in ((f"user_id:{stranger}", 404), (stranger, 404), (f"email:{stranger}", 404)):
        answer = ask(roundtrip, who)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert stranger not in answer.text
    refused = ask(roundtrip, f"user_id:{stranger}", token="wrong")
    assert refused.status_code == 401
    assert stranger not in refused.text


def test_a_person_is_made_two_by_the_api(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    one, other = f"user_id:one-{run}", f"anonymous_id:other-{run}"
    calls = [{"anonymousId": f"other-{run}"}, {"userId": f"one-{run}", "anonymousId": f"other-{run}"}]
    for number, named in enumerate(calls):
        send(roundtrip, {"type": "identify", "messageId": f"two-{run}-{number}", **named})
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    assert ask(roundtrip, one).json()["profile"] == ask(roundtrip, other).json()["profile"]
    assert roundtrip.http.post("/v1/unmerges", json={"who": one}).status_code == 401
    for wrong, status in (({}, 422), ({"who": one, "from": one}, 422), ({"who": f"{one}-nobody"}, 404)):
        answer = roundtrip.http.post("/v1/unmerges", json=wrong, headers=token)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    asked = roundtrip.http.post("/v1/unmerges", json={"who": one, "from": other}, headers=token)
    assert asked.status_code == 202, asked.text
    outcome = asked.json()["outcome"]
    wait_until(lambda: roundtrip.http.get(outcome, headers=token).status_code == 200, "the person to be two")
    done = roundtrip.http.get(outcome, headers=token).json()
    assert ask(roundtrip, other).json()["profile"] == done["profile"]
    assert [ask(roundtrip, one).json()["profile"]] == done["parted"]
    assert roundtrip.http.get("/v1/unmerges/x", headers=token).status_code == 404


def test_a_person_is_erased_by_the_api_and_the_certificate_says_so(roundtrip: Roundtrip) -> None:
    run = uuid4().hex
    who = f"user_id:gone/{run}"
    send(
        roundtrip,
        {"type": "identify", "messageId": f"gone-{run}", "userId": f"gone/{run}", "traits": {"a": run}},
    )
    token = {"Authorization": f"Bearer {roundtrip.ours.token}"}
    path = f"/v1/profiles/{quote(who, safe=':')}"
    assert roundtrip.http.delete(path).status_code == 401
    asked = roundtrip.http.delete(path, headers=token)
    assert asked.status_code == 202, asked.text
    certificate = asked.json()["certificate"]
    wait_until(
        lambda: roundtrip.http.get(certificate, headers=token).json().get("complete"),
        "the erasure to be complete",
        # What the worker had in hand that another test has killed is given out again after 15 s, batch by batch.
        120,
    )
    assert ask(roundtrip, who).status_code == 404
    assert roundtrip.http.delete(path, headers=token).json() == asked.json()
    assert roundtrip.http.get("/v1/erasures/x", headers=token).status_code == 404
    unknown = roundtrip.http.delete(f"/v1/profiles/user_id:nobody-{run}", headers=token)
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
