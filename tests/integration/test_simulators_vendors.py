"""The vendors' simulators as callers meet them: what each refuses, in its own words, and what it then holds."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulating import Simulator, running

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
BEARER = {"authorization": f"Bearer {SECRET}"}
AIRSHIP = {**BEARER, "accept": "application/vnd.urbanairship+json; version=3"}
HASH = "0" * 64
TWILIO_ACCOUNT = "AC" + "0" * 32
UPSERT = "/hubspot/crm/v3/objects/contacts/batch/upsert"
INGEST = "/google_data_manager/v1/audienceMembers:ingest"
MAPPING = "/tiktok/open_api/v1.3/segment/mapping/"


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running("vendors", tmp_path_factory.mktemp("vendors"), "--secret", SECRET) as vendors:
        yield vendors


def ingest(**more: Any) -> dict[str, Any]:
    account = {
        "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": "1"},
        "productDestinationId": "2",
    }
    member = {"userData": {"userIdentifiers": [{"emailAddress": HASH}]}}
    terms = {"customerMatchTermsOfServiceStatus": "ACCEPTED"}
    said = {
        "destinations": [account],
        "audienceMembers": [member],
        "encoding": "HEX",
        "termsOfService": terms,
    }
    return said | more


def mapping(**more: Any) -> dict[str, Any]:
    user = [{"id": HASH, "audience_ids": ["7"]}]
    said = {"advertiser_ids": ["1"], "action": "add", "id_schema": ["EMAIL_SHA256"], "batch_data": [user]}
    return said | more


def contact(email: str, trace: str = "", **properties: Any) -> dict[str, Any]:
    said = {"id": email, "idProperty": "email", "properties": properties}
    return said | ({"objectWriteTraceId": trace} if trace else {})


def call(method: str, path: str, body: Any, headers: dict[str, str], vendors: Simulator) -> tuple[int, Any]:
    answer = vendors.http.request(method, path, json=body, headers=headers)
    try:
        return answer.status_code, answer.json()
    except json.JSONDecodeError:
        return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/airship/api/named_users/tags", {}),
        ("POST", "/braze/users/track", {}),
        ("PUT", "/sendgrid/v3/marketing/contacts", {}),
        ("POST", UPSERT, {}),
        ("POST", INGEST, ingest()),
    ],
)
def test_a_wrong_secret_is_refused(method: str, path: str, body: Any, vendors: Simulator) -> None:
    assert call(method, path, body, {"authorization": "Bearer other"}, vendors)[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        (
            "POST",
            "/airship/api/named_users/tags",
            {"audience": {"named_user_id": []}, "add": {"g": ["t"]}},
            "1 to",
        ),
        (
            "POST",
            "/airship/api/named_users/tags",
            {"audience": {"named_user_id": [f"u{n}" for n in range(1001)]}, "add": {"g": ["t"]}},
            "1 to 1000",
        ),
        (
            "POST",
            "/airship/api/named_users/tags",
            {"audience": {"named_user_id": ["u"]}, "add": {"ua_g": ["t"]}},
            "reserved",
        ),
        (
            "POST",
            "/airship/api/custom-events",
            [{"user": {"named_user_id": "u"}, "body": {"name": "Upper"}}],
            "upper-case",
        ),
        ("POST", "/airship/api/named_users/uninstall", {"named_user_id": ["u"] * 101}, "1 to 100"),
        ("POST", "/braze/users/track", {"attributes": []}, "Valid data must be provided"),
        ("POST", "/braze/users/track", {"attributes": [{"external_id": "u"}] * 76}, "more than 75"),
        ("POST", "/braze/users/delete", {"external_ids": ["u"], "braze_ids": ["b"]}, "Exactly one"),
        (
            "POST",
            "/braze/campaigns/trigger/send",
            {"campaign_id": "c", "recipients": [{}]},
            "external_user_id",
        ),
        ("PUT", "/sendgrid/v3/marketing/contacts", {"contacts": [{"email": "ada"}]}, "email is not valid"),
        (
            "PUT",
            "/sendgrid/v3/marketing/contacts",
            {"contacts": [{"email": "a@b.co", "age": 1}]},
            "unknown field",
        ),
        (
            "PUT",
            "/sendgrid/v3/marketing/contacts",
            {"contacts": [{"email": "a@b.co"}], "list_ids": ["x"]},
            "list ids",
        ),
        ("POST", UPSERT, {"inputs": [contact("a@b.co")] * 101}, "1 to 100"),
        ("POST", UPSERT, {"inputs": [contact("a@b.co"), contact("A@b.co")]}, "Duplicate IDs"),
        ("POST", UPSERT, {"inputs": [contact("a@b.co", no_such_property="x")]}, "does not exist"),
        ("POST", INGEST, ingest(encoding=None), "encoding"),
        ("POST", INGEST, ingest(termsOfService=None), "terms"),
        (
            "POST",
            INGEST,
            ingest(audienceMembers=[{"userData": {"userIdentifiers": [{"emailAddress": "a@b.co"}]}}]),
            "INVALID_HEX_ENCODING",
        ),
        (
            "POST",
            INGEST,
            ingest(audienceMembers=[{"userData": {"userIdentifiers": [{"emailAddress": "00"}]}}]),
            "INVALID_SHA256_FORMAT",
        ),
    ],
)
def test_a_wrong_call_is_refused_in_the_vendors_words(
    method: str, path: str, body: Any, words: str, vendors: Simulator
) -> None:
    status, said = call(method, path, body, {**AIRSHIP, "x-ua-appkey": "key"}, vendors)
    assert status == 400
    assert words in json.dumps(said)


def test_airship_wants_its_own_media_type(vendors: Simulator) -> None:
    assert call("POST", "/airship/api/named_users/tags", {}, BEARER, vendors)[0] == 406


def test_braze_takes_what_is_right_and_names_the_rest(vendors: Simulator) -> None:
    events = [
        {"external_id": "u1", "name": "e", "time": "2026-11-25T00:00:00Z"},
        {"external_id": "u1", "name": "e"},
    ]
    status, said = call("POST", "/braze/users/track", {"events": events}, BEARER, vendors)
    assert status == 201
    assert said["events_processed"] == 1
    assert said["errors"] == [{"type": "'time' is not a valid time", "input_array": "events", "index": 1}]


def test_hubspot_tells_traced_inputs_apart(vendors: Simulator) -> None:
    inputs = [contact("good@b.co", "t1", city="Graz"), contact("bad", "t2")]
    status, said = call("POST", UPSERT, {"inputs": inputs}, BEARER, vendors)
    assert (status, said["numErrors"]) == (207, 1)
    assert said["errors"][0]["context"] == {"objectWriteTraceId": ["t2"]}
    assert vendors.http.get("/hubspot/simulate/held/contacts").json()["good@b.co"]["city"] == "Graz"


@pytest.mark.parametrize(
    ("body", "token", "code"),
    [
        (mapping(), SECRET, 0),
        (mapping(), "other", 40105),
        (mapping(action="remove"), SECRET, 40002),
        (mapping(batch_data=[[{"id": "a@b.co", "audience_ids": ["7"]}]]), SECRET, 40002),
        (mapping(batch_data=[[{}]]), SECRET, 40002),
    ],
)
def test_tiktok_says_everything_with_200(body: Any, token: str, code: int, vendors: Simulator) -> None:
    status, said = call("POST", MAPPING, body, {"access-token": token}, vendors)
    assert (status, said["code"]) == (200, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"client_id": "1.2", "events": [{"name": "login"}]}, None),
        ({"events": [{"name": "login"}]}, "VALUE_REQUIRED"),
        ({"client_id": "1.2", "events": [{"name": "_bad"}]}, "NAME_INVALID"),
        ({"client_id": "1.2", "events": [{"name": "session_start"}]}, "NAME_RESERVED"),
        ({"client_id": "1.2", "events": [{"name": "login"}] * 26}, "EXCEEDED_MAX_ENTITIES"),
        ({"client_id": "1.2", "timestamp_micros": 1, "events": [{"name": "login"}]}, "VALUE_OUT_OF_BOUNDS"),
    ],
)
def test_google_analytics_says_nothing_but_to_its_validator(
    body: Any, code: str | None, vendors: Simulator
) -> None:
    query = f"?api_secret={SECRET}&measurement_id=G-1"
    assert call("POST", f"/google_analytics/mp/collect{query}", body, {}, vendors) == (204, "")
    _, said = call("POST", f"/google_analytics/debug/mp/collect{query}", body, {}, vendors)
    assert [one["validationCode"] for one in said["validationMessages"]] == ([code] if code else [])


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"From": "+15005550006", "Body": "x"}, 21604),
        ({"To": "0664", "From": "+15005550006", "Body": "x"}, 21211),
        ({"To": "+436641234567", "Body": "x"}, 21603),
        ({"To": "+436641234567", "From": "+1", "Body": "x"}, 21212),
        ({"To": "+436641234567", "From": "+15005550006"}, 21602),
        ({"To": "+436641234567", "From": "+15005550006", "Body": "x" * 1_601}, 21617),
        ({"To": "+436641234567", "From": "Shop", "Body": "x", "ContentVariables": "{}"}, 21656),
        ({"To": "+436641234567", "From": "Shop", "Body": "x", "StatusCallback": "http://a_b/"}, 21609),
        ({"To": "+436641234567", "From": "+15005550008", "Body": "x"}, 21611),
        ({"To": "+15005550009", "From": "+15005550006", "Body": "x"}, 21614),
    ],
)
def test_twilio_says_by_its_code_what_is_wrong(form: dict[str, str], code: int, vendors: Simulator) -> None:
    path = f"/twilio/2010-04-01/Accounts/{TWILIO_ACCOUNT}/Messages.json"
    answer = vendors.http.post(path, data=form, auth=(TWILIO_ACCOUNT, SECRET))
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["more_info"].endswith(str(code))
    other = vendors.http.post(path, data=form, auth=("AC" + "1" * 32, SECRET))
    assert (other.status_code, other.json()["code"]) == (401, 20003)


def test_a_limit_is_told_in_the_vendors_headers_and_ends_with_its_window(vendors: Simulator) -> None:
    vendors.http.post("/braze/simulate/limit", json={"requests": 1, "window_s": 60})
    first = vendors.http.post("/braze/users/delete", json={"external_ids": ["u"]}, headers=BEARER)
    second = vendors.http.post("/braze/users/delete", json={"external_ids": ["u"]}, headers=BEARER)
    assert (first.status_code, first.headers["x-ratelimit-remaining"]) == (200, "0")
    assert (second.status_code, second.headers["x-ratelimit-limit"]) == (429, "1")
    vendors.http.post("/braze/simulate/limit", json={})
    assert (
        vendors.http.post("/braze/users/delete", json={"external_ids": ["u"]}, headers=BEARER).status_code
        == 200
    )


def test_faults_are_of_one_vendor_and_what_is_held_outlives_a_kill(tmp_path: Path) -> None:
    with running("vendors", tmp_path, "--secret", SECRET) as vendors:
        vendors.http.post("/braze/simulate/faults", json={"next": [{"status": 503}]})
        assert (
            call(
                "PUT", "/sendgrid/v3/marketing/contacts", {"contacts": [{"email": "a@b.co"}]}, BEARER, vendors
            )[0]
            == 202
        )
        assert call("POST", "/braze/users/delete", {"external_ids": ["u"]}, BEARER, vendors)[0] == 503
        vendors.end(signal.SIGKILL)
    with running("vendors", tmp_path, "--secret", SECRET) as vendors:
        assert list(vendors.http.get("/sendgrid/simulate/held/contacts").json()) == ["a@b.co"]
        assert vendors.http.get("/braze/simulate/status").json()["rejected"] == {"fault_503": 1}
