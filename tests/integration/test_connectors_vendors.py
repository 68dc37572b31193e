"""Each connector against its vendor's simulator: what is held afterwards, partial failures, limits and faults."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.connectors import (
    airship,
    airship_push,
    braze,
    braze_campaign,
    google_analytics,
    google_data_manager,
    hubspot,
    sendgrid,
    sendgrid_mail,
    standard_webhooks,
    tiktok,
    twilio_sms,
)
from adapters.connectors.connector import Connector, ConnectorConfig
from tests.integration.sending import event, record, send
from tests.integration.simulating import Simulator, running

SECRET = "whsec_" + base64.b64encode(b"a secret of at least 24 bytes").decode()
ACCOUNT = "AC" + "0" * 32
LIST = "3c2f7f2a-8c2d-4f2a-9d9b-1b2a3c4d5e6f"


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with running("vendors", tmp_path_factory.mktemp("vendors"), "--secret", SECRET) as vendors:
        yield vendors


def config(vendors: Simulator, vendor: str, secret: str, **settings: Any) -> ConnectorConfig:
    url = f"{str(vendors.http.base_url).rstrip('/')}/{vendor}"
    where = {"url": f"{url}/hook"} if vendor == "webhook" else {"base_url": url}
    return ConnectorConfig("out", {**where, **settings}, {secret: SECRET})


def held(vendors: Simulator, vendor: str, collection: str) -> Any:
    return vendors.http.get(f"/{vendor}/simulate/held/{collection}").raise_for_status().json()


def statuses(*records: Any, to: Connector, config: ConnectorConfig) -> list[str]:
    return [one.status for one in send(to, config, records)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_airship_tags_named_users_and_uninstalls_them(vendors: Simulator) -> None:
    to = config(vendors, "airship", "token", app_key="key", tag_group="roundtrip")
    adds = [record(named_user_id=f"u{n}") for n in range(3)]
    assert statuses(*adds, to=airship.CONNECTOR, config=to) == ["delivered"] * 3
    assert held(vendors, "airship", "named_users")["u2"] == {"roundtrip": ["new_users"]}

    later = [
        record("remove", named_user_id="u0"),
        record("delete", named_user_id="u1"),
        record(named_user_id=" "),
    ]
    assert statuses(*later, to=airship.CONNECTOR, config=to) == ["delivered", "delivered", "dead"]
    assert held(vendors, "airship", "named_users") == {
        "u0": {"roundtrip": []},
        "u2": {"roundtrip": ["new_users"]},
    }
    assert list(held(vendors, "airship", "uninstalled")) == ["u1"]


def test_braze_keeps_audiences_beside_attributes_and_names_what_it_cannot_use(vendors: Simulator) -> None:
    to = config(vendors, "braze", "api_key")
    adds = [record(external_id=f"u{n}", city="Graz") for n in range(80)] + [record(external_id="x" * 998)]
    assert statuses(*adds, to=braze.CONNECTOR, config=to) == ["delivered"] * 80 + ["dead"]
    users = held(vendors, "braze", "users")
    assert len(users) == 80
    assert (users["u79"]["city"], users["u79"]["roundtrip_audiences"]) == ("Graz", ["new_users"])

    later = [
        record(audience="b", external_id="u0"),
        record("remove", external_id="u1"),
        record("delete", external_id="u2"),
    ]
    assert statuses(*later, to=braze.CONNECTOR, config=to) == ["delivered"] * 3
    users = held(vendors, "braze", "users")
    assert users["u0"]["roundtrip_audiences"] == ["new_users", "b"]
    assert (users["u1"]["roundtrip_audiences"], "u2" in users) == ([], False)


def test_a_campaign_of_braze_has_each_persons_own_properties(vendors: Simulator) -> None:
    to = config(vendors, "braze", "api_key", campaign_id="c-1")
    outcomes = send(
        braze_campaign.CONNECTOR, to, [record(external_id=f"u{n}", name=f"N{n}") for n in range(51)]
    )
    assert {one.status for one in outcomes} == {"delivered"}
    assert len({one.reference for one in outcomes}) == 2
    sent = list(held(vendors, "braze", "sent").values())
    assert len(sent) == 51
    assert sent[50]["trigger_properties"] == {"name": "N50"}


def test_sendgrid_finds_people_before_it_takes_them_off_or_deletes_them(vendors: Simulator) -> None:
    to = config(vendors, "sendgrid", "api_key", list_id=LIST)
    adds = [record(email=f"U{n}@Example.com", first_name="Ada", w1_T="x") for n in range(3)]
    assert statuses(*adds, to=sendgrid.CONNECTOR, config=to) == ["delivered"] * 3
    contacts = held(vendors, "sendgrid", "contacts")
    assert contacts["u0@example.com"]["list_ids"] == [LIST]
    assert contacts["u0@example.com"]["custom_fields"] == {"w1_T": "x"}

    later = [
        record("remove", email="u0@example.com"),
        record("delete", email="u1@example.com"),
        record("remove", email="unknown@example.com"),
        record(email="no address"),
    ]
    outcomes = send(sendgrid.CONNECTOR, to, later)
    assert [one.status for one in outcomes] == ["delivered", "delivered", "delivered", "dead"]
    assert outcomes[2].reason == "SendGrid has no such contact"
    contacts = held(vendors, "sendgrid", "contacts")
    assert set(contacts) == {"u0@example.com", "u2@example.com"}
    assert contacts["u0@example.com"]["list_ids"] == []


def test_hubspot_tells_good_contacts_from_bad_and_deletes_for_good(vendors: Simulator) -> None:
    to = config(vendors, "hubspot", "access_token", membership_property="in_new_users")
    adds = [
        record(email="Ada@Example.com", age=36),
        record(email="bela@nowhere"),
        record(email="cy@example.com"),
    ]
    outcomes = send(hubspot.CONNECTOR, to, adds)
    assert [one.status for one in outcomes] == ["delivered", "dead", "delivered"]
    assert outcomes[1].reason == "HubSpot could not use the contact: VALIDATION_ERROR"
    contacts = held(vendors, "hubspot", "contacts")
    assert contacts["ada@example.com"] == {"age": "36", "in_new_users": "true", "email": "ada@example.com"}

    later = [record("remove", email="ada@example.com"), record("delete", email="cy@example.com")]
    assert statuses(*later, to=hubspot.CONNECTOR, config=to) == ["delivered"] * 2
    assert held(vendors, "hubspot", "contacts")["ada@example.com"]["in_new_users"] == "false"
    assert list(held(vendors, "hubspot", "blocked")) == ["cy@example.com"]


def test_google_matches_by_hashes_and_the_consent_goes_along(vendors: Simulator) -> None:
    consent = {"ad_user_data": "granted", "ad_personalization": "granted"}
    to = config(
        vendors, "google_data_manager", "access_token", account_id="1", audience_id="42", consent=consent
    )
    adds = [record(email="Cloudy.SanFrancisco+x@gmail.com", phone="+1 800 555 0100"), record(phone="0664")]
    assert statuses(*adds, to=google_data_manager.CONNECTOR, config=to) == ["delivered", "dead"]
    key = f"emailAddress={sha('cloudysanfrancisco@gmail.com')}&phoneNumber={sha('+18005550100')}"
    [(member, said)] = held(vendors, "google_data_manager", "42").items()
    assert member == key
    assert said["consent"] == {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"}

    gone = record("delete", email="Cloudy.SanFrancisco+x@gmail.com", phone="+1 800 555 0100")
    assert statuses(gone, to=google_data_manager.CONNECTOR, config=to) == ["delivered"]
    assert held(vendors, "google_data_manager", "42") == {}


def test_tiktok_maps_each_kind_of_hash(vendors: Simulator) -> None:
    to = config(vendors, "tiktok", "access_token", advertiser_id="1", audience_id="7")
    adds = [record(email="Ada@example.com"), record(phone="+436641234567"), record(name="nobody")]
    assert statuses(*adds, to=tiktok.CONNECTOR, config=to) == ["delivered", "delivered", "dead"]
    assert set(held(vendors, "tiktok", "7")) == {
        f"EMAIL_SHA256={sha('ada@example.com')}",
        f"PHONE_SHA256={sha('+436641234567')}",
    }
    assert statuses(record("remove", email="ada@example.com"), to=tiktok.CONNECTOR, config=to) == [
        "delivered"
    ]
    assert list(held(vendors, "tiktok", "7")) == [f"PHONE_SHA256={sha('+436641234567')}"]


def test_webhooks_are_signed_and_a_repeated_one_has_the_same_id(vendors: Simulator) -> None:
    to = config(vendors, "webhook", "secret")
    vendors.http.post("/webhook/simulate/faults", json={"next": [{"drop_after_commit": True}]})
    [one] = [record(user_id="u1")]
    [outcome] = send(standard_webhooks.CONNECTOR, to, [one])
    assert (outcome.status, outcome.attempts) == ("delivered", 2)
    [(name, message)] = held(vendors, "webhook", "messages").items()
    assert name == one.id
    assert (message["type"], message["data"]["fields"]) == ("audience.entered", {"user_id": "u1"})
    assert vendors.http.get("/webhook/simulate/status").json()["repeated"] == 1


def test_google_analytics_gets_what_it_would_not_drop(vendors: Simulator) -> None:
    to = config(vendors, "google_analytics", "api_secret", measurement_id="G-1")
    records = [
        record(client_id="1.2", user_id="u1", plan="gold"),
        record("remove", client_id="1.3"),
        record(client_id="1.4", plan="x" * 101),
        record(client_id="1.5", ga_plan="gold"),
        record(plan="gold"),
    ]
    assert statuses(*records, to=google_analytics.CONNECTOR, config=to) == ["delivered"] * 2 + ["dead"] * 3
    first, second = held(vendors, "google_analytics", "events").values()
    assert (first["client_id"], first["user_id"], first["name"]) == ("1.2", "u1", "audience_entered")
    assert first["params"] == {"plan": "gold", "audience": "new_users"}
    assert second["name"] == "audience_exited"
    assert vendors.http.get("/google_analytics/simulate/status").json()["rejected"] == {}


def test_a_mail_goes_to_all_but_those_that_sendgrid_refuses(vendors: Simulator) -> None:
    to = config(vendors, "sendgrid", "api_key", template_id="d-0123", **{"from": "hello@example.org"})
    records = [
        record(email="ada@example.com", name="Ada"),
        record(email="bela@nowhere"),
        record(email="cy@example.com"),
    ]
    outcomes = send(sendgrid_mail.CONNECTOR, to, records)
    assert [one.status for one in outcomes] == ["delivered", "dead", "delivered"]
    mails = list(held(vendors, "sendgrid", "mails").values())
    assert [mail["to"][0]["email"] for mail in mails] == ["ada@example.com", "cy@example.com"]
    assert mails[0]["dynamic_template_data"] == {"name": "Ada"}
    assert mails[0]["custom_args"] == {"outbound_id": records[0].id, "outbound_batch": "b-1"}
    assert outcomes[0].reference.startswith("message-")

    twice = [event("Order Completed", {"total": n}, email="ada@example.com") for n in range(2)]
    assert statuses(*twice, to=sendgrid_mail.CONNECTOR, config=to) == ["delivered"] * 2
    assert len(held(vendors, "sendgrid", "mails")) == 4


def test_an_sms_goes_to_those_whom_twilio_does_not_refuse(vendors: Simulator) -> None:
    to = config(
        vendors, "twilio", "auth_token", account_sid=ACCOUNT, body="Your cart", **{"from": "+15005550006"}
    )
    records = [record(phone="+43 664 1234567"), record(phone="+15005550004"), record(phone="0664")]
    outcomes = send(twilio_sms.CONNECTOR, to, records)
    assert [one.status for one in outcomes] == ["delivered", "dead", "dead"]
    assert "21610, the person has opted out" in outcomes[1].reason
    messages = held(vendors, "twilio", "messages")
    assert [(sid, one["To"], one["Body"]) for sid, one in messages.items()] == [
        (outcomes[0].reference, "+436641234567", "Your cart")
    ]


def test_a_push_of_airships_comes_back_by_its_id(vendors: Simulator) -> None:
    to = config(vendors, "airship", "token", app_key="key", alert="Hello")
    outcomes = send(airship_push.CONNECTOR, to, [record(named_user_id=f"u{n}") for n in range(3)])
    pushed = list(held(vendors, "airship", "pushed").values())
    assert [one["named_user"] for one in pushed] == ["u0", "u1", "u2"]
    assert {one.reference for one in outcomes} == {pushed[0]["push_id"]}


EVENTS: list[tuple[str, Connector, str, dict[str, Any], dict[str, str]]] = [
    ("airship", airship.CONNECTOR, "token", {"app_key": "k", "tag_group": "g"}, {"named_user_id": "ev"}),
    ("braze", braze.CONNECTOR, "api_key", {}, {"external_id": "ev"}),
    (
        "google_analytics",
        google_analytics.CONNECTOR,
        "api_secret",
        {"measurement_id": "G-2"},
        {"client_id": "ev"},
    ),
    ("webhook", standard_webhooks.CONNECTOR, "secret", {}, {"user_id": "ev"}),
]


@pytest.mark.parametrize(("vendor", "connector", "secret", "settings", "fields"), EVENTS)
def test_events_go_as_they_happened(
    vendor: str, connector: Connector, secret: str, settings: Any, fields: Any, vendors: Simulator
) -> None:
    to = config(vendors, vendor, secret, **settings)
    records = [event("Order Completed", {"total": n}, **fields) for n in range(3)]
    assert statuses(*records, to=connector, config=to) == ["delivered"] * 3
    kept = held(vendors, vendor, "messages" if vendor == "webhook" else "events").values()
    told = [str(one).lower().replace("_", " ") for one in kept if "ev'" in str(one)]
    assert len(told) == 3
    assert all("order completed" in one for one in told)
    assert [f"'total': {n}" in one for n, one in enumerate(told)] == [True] * 3


VENDORS: list[tuple[str, Connector, str, dict[str, Any], dict[str, str]]] = [
    ("airship", airship.CONNECTOR, "token", {"app_key": "k", "tag_group": "g"}, {"named_user_id": "u"}),
    ("braze", braze.CONNECTOR, "api_key", {}, {"external_id": "u"}),
    ("sendgrid", sendgrid.CONNECTOR, "api_key", {"list_id": LIST}, {"email": "a@b.co"}),
    ("hubspot", hubspot.CONNECTOR, "access_token", {"membership_property": "p"}, {"email": "a@b.co"}),
    (
        "google_data_manager",
        google_data_manager.CONNECTOR,
        "access_token",
        {"account_id": "1", "audience_id": "2"},
        {"email": "a@b.co"},
    ),
    (
        "tiktok",
        tiktok.CONNECTOR,
        "access_token",
        {"advertiser_id": "1", "audience_id": "2"},
        {"email": "a@b.co"},
    ),
    ("webhook", standard_webhooks.CONNECTOR, "secret", {}, {"user_id": "u"}),
    (
        "twilio",
        twilio_sms.CONNECTOR,
        "auth_token",
        {"account_sid": ACCOUNT, "from": "+15005550006", "body": "Hello"},
        {"phone": "+436641234567"},
    ),
]


@pytest.mark.parametrize(("vendor", "connector", "secret", "settings", "fields"), VENDORS)
def test_limits_and_outages_pass_and_a_refusal_stays(
    vendor: str, connector: Connector, secret: str, settings: Any, fields: Any, vendors: Simulator
) -> None:
    to = config(vendors, vendor, secret, **settings)
    faults = [{"status": 429}, {"status": 503}, {"drop": True}]
    vendors.http.post(f"/{vendor}/simulate/faults", json={"next": faults})
    [outcome] = send(connector, to, [record(**fields)])
    assert (outcome.status, outcome.attempts) == ("delivered", 4)

    # TikTok's refusals are codes, and its own for what is wrong is 40002.
    vendors.http.post(f"/{vendor}/simulate/faults", json={"next": [{"status": 400, "code": 40002}]})
    [outcome] = send(connector, to, [record(**fields)])
    assert (outcome.status, outcome.attempts) == ("dead", 1)
    assert not any(value in outcome.reason for value in fields.values() if len(value) > 1)
