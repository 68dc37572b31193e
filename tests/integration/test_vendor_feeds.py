"""Vendors' own packages and payloads, pointed at a running Roundtrip: in the log once, refused as they expect."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from mparticle import AppEvent, Batch, Configuration, EventsApi, UserIdentities
from mparticle.rest import ApiException
from stripe import WebhookSignature
from twilio.request_validator import RequestValidator

from adapters.quarantine import put_asides
from runtime.engines import running
from tests.integration.conftest import MPARTICLE_SECRET, VENDOR_SECRET, WRITE_KEY, Roundtrip
from tests.keys import opened
from tests.unit.payloads import BRAZE, STRIPE, TWILIO

BEARER = {"Authorization": f"Bearer {VENDOR_SECRET}"}
JSON = {"Content-Type": "application/json"}


def quarantined(roundtrip: Roundtrip, part: str) -> list[tuple[str, str, str]]:
    engines = running(roundtrip.ours.home)
    assert engines is not None
    with opened(engines.database_url) as connection:
        found = [item for item in put_asides(connection) if part.encode() in item.body]
    return [(item.feed, item.code, str(item.headers)) for item in found]


def mparticle(roundtrip: Roundtrip, secret: str = MPARTICLE_SECRET) -> EventsApi:
    configuration = Configuration()
    configuration.host = f"{roundtrip.url}/v2"
    configuration.api_key, configuration.api_secret = secret.split(":")
    return EventsApi(configuration)


def batch(user: str, *ids: str) -> Batch:
    made = Batch(environment="production", source_request_id=f"request-{user}")
    made.user_identities = UserIdentities(customerid=user, email=f"{user}@example.com")
    made.user_attributes = {"tier": "gold"}
    made.events = [
        AppEvent("Order Completed", "transaction", source_message_id=i, custom_attributes={"total": "12"})
        for i in ids
    ]
    return made


def test_mparticles_package_hands_in_one_batch_or_many_once(roundtrip: Roundtrip) -> None:
    one, two, three = (str(uuid.uuid4()) for _ in range(3))
    api = mparticle(roundtrip)
    user = f"mp-{one}"
    for _ in range(2):
        api.upload_events(batch(user, one))
    api.bulk_upload_events([batch(f"mp-{two}", two), batch(f"mp-{three}", three)])
    for message_id in (one, two, three):
        [record] = roundtrip.rows(message_id)
        assert record["name"] == "Order Completed"
        assert ["user_id", f"mp-{message_id}"] in record["identifiers"]
        assert record["body"]["data"]["custom_attributes"] == {"total": "12"}
    [identify] = roundtrip.rows(f"request-{user}")
    assert identify["body"]["user_attributes"] == {"tier": "gold"}


def test_mparticles_package_is_told_what_is_wrong_by_its_own_status_codes(roundtrip: Roundtrip) -> None:
    nobody = Batch(environment="production")
    nobody.events = []
    for api, made, status in (
        (mparticle(roundtrip, "wrong:secret"), batch("u"), 403),
        (mparticle(roundtrip), nobody, 400),
    ):
        with pytest.raises(ApiException) as caught:
            api.upload_events(made)
        assert caught.value.status == status
        said = json.loads(caught.value.body)
        assert said["status"] == status
        if status == 400:
            assert said["errors"][0]["code"] == "no_identifier"
            assert said["errors"][0]["message"]
    assert roundtrip.http.post("/v2/events", json={}).status_code == 401


@pytest.mark.parametrize("mode", ["structured", "binary", "batch"])
def test_cloudevents_come_in_by_every_mode(roundtrip: Roundtrip, mode: str) -> None:
    def event() -> CloudEvent:
        return CloudEvent(
            {"id": str(uuid.uuid4()), "source": "/till", "type": "receipt.printed", "specversion": "1.0"},
            {"user_id": "cloudy", "total": 12.5},
        )

    events = [event(), event()] if mode == "batch" else [event()]
    for new in (len(events), 0):
        if mode == "batch":
            body = b"[" + b",".join(JSONFormat().write(one) for one in events) + b"]"
            headers = {"content-type": "application/cloudevents-batch+json"}
        else:
            message = (to_structured_event if mode == "structured" else to_binary_event)(events[0])
            body, headers = message.body, {"content-type": "application/json"} | message.headers
        response = roundtrip.http.post("/v1/feeds/events", content=body, headers=headers | BEARER)
        assert response.json() == {"accepted": new, "duplicates": len(events) - new}
    for one in events:
        [record] = roundtrip.rows(f"/till {one.get_id()}")
        assert record["name"] == "receipt.printed"
        assert record["identifiers"] == [["user_id", "cloudy"]]
        assert record["body"]["data"] == {"user_id": "cloudy", "total": 12.5}
        assert record["body"]["source"] == "/till"


def test_a_sender_of_cloudevents_may_ask_first(roundtrip: Roundtrip) -> None:
    asked = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    response = roundtrip.http.options("/v1/feeds/events", headers=asked)
    assert response.status_code == 200
    assert response.headers["webhook-allowed-origin"] == "events.example.com"
    assert roundtrip.http.options("/v1/feeds/nobodys", headers=asked).status_code == 404


def test_stripes_events_come_in_signed_by_its_package(roundtrip: Roundtrip) -> None:
    event_id = f"evt_{uuid.uuid4().hex}"
    body = STRIPE.body.replace(b"evt_1", event_id.encode()).decode()
    at = int(time.time())
    headers = {
        "Stripe-Signature": f"t={at},v1={WebhookSignature._compute_signature(f'{at}.{body}', VENDOR_SECRET)}"
    }
    for new in (1, 0):
        response = roundtrip.http.post("/v1/feeds/stripe", content=body, headers=headers | JSON)
        assert response.json() == {"accepted": new, "duplicates": 1 - new}
    old = headers | {"Stripe-Signature": headers["Stripe-Signature"].replace(f"t={at}", f"t={at - 1}")}
    assert roundtrip.http.post("/v1/feeds/stripe", content=body, headers=old | JSON).status_code == 401
    [record] = roundtrip.rows(event_id)
    assert record["name"] == "invoice.paid"


def test_twilios_forms_come_in_signed_for_the_address_that_was_called(roundtrip: Roundtrip) -> None:
    sid = f"SM{uuid.uuid4().hex}"
    body = TWILIO.body.replace(b"SM1", sid.encode())
    url = f"{roundtrip.url}/v1/feeds/sms?outbound_id=o-9"
    form = dict(part.split("=") for part in body.decode().replace("%2B", "+").split("&"))
    headers = {"X-Twilio-Signature": RequestValidator(VENDOR_SECRET).compute_signature(url, form)}
    response = roundtrip.http.post(url, content=body, headers=headers | TWILIO.headers)
    assert response.status_code == 200, response.text
    [record] = roundtrip.rows(f"{sid}:undelivered")
    assert record["name"] == "SMS Bounced"
    assert record["properties"]["outbound_id"] == "o-9"
    other = roundtrip.http.post(f"{url}0", content=body, headers=headers | TWILIO.headers)
    assert other.status_code == 401
    assert (
        roundtrip.http.post(url, content=b"<a/>", headers=headers | {"Content-Type": "text/xml"}).status_code
        == 415
    )


def test_of_a_batch_the_good_are_taken_and_the_bad_kept_aside(roundtrip: Roundtrip) -> None:
    good, bad = str(uuid.uuid4()), str(uuid.uuid4())
    said = json.loads(BRAZE.body)
    events = [said["events"][0] | {"id": good}, {"event_type": "users.messages.email.Open", "mark": bad}]
    headers = BEARER | JSON | {"X-Other-Secret": "shown-nowhere"}
    response = roundtrip.http.post("/v1/feeds/currents", json={"events": events}, headers=headers)
    assert response.status_code == 207
    answer = response.json()
    assert (answer["accepted"], answer["refused"][0]["pointer"]) == (1, "/events/1/id")
    assert len(roundtrip.rows(good)) == 1
    [(feed, code, kept)] = quarantined(roundtrip, bad)
    assert (feed, code) == ("currents", "not_text")
    assert "shown-nowhere" not in kept
    assert VENDOR_SECRET not in kept
    all_bad = roundtrip.http.post("/v1/feeds/currents", json={"events": events[1:]}, headers=BEARER | JSON)
    # Braze gives up what is refused alone by 400, and knows no 422.
    assert all_bad.status_code == 400


def test_a_good_call_of_segments_is_taken_though_another_of_its_batch_is_bad(roundtrip: Roundtrip) -> None:
    good, bad = str(uuid.uuid4()), str(uuid.uuid4())
    call: dict[str, Any] = {"type": "track", "event": "Seen", "userId": "u"}
    calls = [
        call | {"messageId": good},
        {"type": "dance", "userId": "u", "messageId": bad},
        {"type": "track"},
    ]
    headers = {"Authorization": "Basic " + base64.b64encode(f"{WRITE_KEY}:".encode()).decode()}
    response = roundtrip.http.post("/v1/batch", json={"batch": calls}, headers=headers)
    # Segment's clients read no other success than 200, and give up a batch that is refused.
    assert response.status_code == 200
    assert response.json()["success"] is True
    assert [one["pointer"] for one in response.json()["refused"]] == ["/batch/1/type", "/batch/2/event"]
    assert len(roundtrip.rows(good)) == 1
    assert roundtrip.rows(bad) == []
    assert [(feed, code) for feed, code, _ in quarantined(roundtrip, bad)] == [("app", "unknown_type")]
