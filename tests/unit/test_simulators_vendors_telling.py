"""What the vendors' simulators tell a webhook is signed as the vendors sign: checked by Twilio's own package, and by
SendGrid's published way."""

from __future__ import annotations

import base64
import sqlite3
from urllib.parse import parse_qsl

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from twilio.request_validator import RequestValidator

from simulators.vendors import sendgrid_events
from simulators.vendors.held import TABLES, Held
from simulators.vendors.twilio import TWILIO, set_unreachable
from simulators.vendors.vendor import UNTOLD, Call, Telling

NOW = 1_767_571_200.0
ACCOUNT = "AC" + "0" * 32
CALLBACK = "http://127.0.0.1:8080/v1/feeds/sms?outbound_id=o-1"


@pytest.fixture
def held() -> Held:
    db = sqlite3.connect(":memory:")
    db.executescript(f"create table counters (name text primary key, n integer not null); {TABLES}")
    return Held(db, "vendor")


def send_sms(held: Held, to: str) -> None:
    coded = base64.b64encode(f"{ACCOUNT}:token".encode()).decode()
    headers = {"authorization": f"Basic {coded}", "content-type": "application/x-www-form-urlencoded"}
    form = (
        f"To=%2B{to}&From=%2B15005550006&Body=Hello&StatusCallback="
        + CALLBACK.replace("&", "%26")
        + "%23rc=5"
    )
    call = Call("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", {}, headers, form.encode(), NOW)
    assert TWILIO.answer(call, held, "token").status == 201


def next_of(held: Held) -> Telling:
    assert TWILIO.tell is not None
    found = TWILIO.tell(held, "token", NOW)
    assert found is not None
    held.drop(UNTOLD, found.keys[0])
    return found


def test_each_status_of_an_sms_is_told_signed_for_its_address(held: Held) -> None:
    set_unreachable(["+436641234567"], held)
    send_sms(held, "436641234567")
    said = []
    for _ in range(2):
        telling = next_of(held)
        form = dict(parse_qsl(telling.body.decode()))
        # What stands after a # is for Twilio alone.
        assert telling.url == CALLBACK
        signature = telling.headers["x-twilio-signature"]
        assert RequestValidator("token").validate(telling.url, form, signature)
        assert not RequestValidator("other").validate(telling.url, form, signature)
        said.append((form["MessageStatus"], form.get("ErrorCode")))
    assert said == [("sent", None), ("undelivered", "30003")]
    assert TWILIO.tell is not None and TWILIO.tell(held, "token", NOW) is None


def test_what_became_of_a_mail_is_told_with_our_ids_signed_over_time_and_body(held: Held) -> None:
    answer = sendgrid_events.set_webhook({"url": "http://127.0.0.1:8080/hook", "trouble": ""}, held)
    person = {"custom_args": {"outbound_id": "o-1"}}
    sendgrid_events.sent(held, "Ada@example.com", person, "m-1", NOW)
    happened = {"email": "ada@example.com", "event": "open", "at": "2026-01-05T01:00:00Z"}
    sendgrid_events.engage([happened], held)
    telling = sendgrid_events.tell(held, "", NOW)
    assert telling is not None
    events = msgspec.json.decode(telling.body)
    assert [(one["event"], one["timestamp"] - int(NOW)) for one in events] == [
        ("processed", 0),
        ("delivered", 0),
        ("open", 3_600),
    ]
    assert {(one["outbound_id"], one["sg_message_id"], one["email"]) for one in events} == {
        ("o-1", "m-1", "Ada@example.com")
    }
    assert len({one["sg_event_id"] for one in events}) == 3
    key = load_der_public_key(base64.b64decode(answer["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey)
    signature = base64.b64decode(telling.headers["x-twilio-email-event-webhook-signature"])
    at = telling.headers["x-twilio-email-event-webhook-timestamp"].encode()
    key.verify(signature, at + telling.body, ECDSA(SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, at + telling.body + b" ", ECDSA(SHA256()))


def test_a_late_webhook_repeats_its_events_in_another_order(held: Held) -> None:
    first = sendgrid_events.set_webhook({"url": "http://127.0.0.1:8080/hook", "trouble": "late"}, held)
    sendgrid_events.sent(held, "ada@example.com", {}, "m-1", NOW)
    telling = sendgrid_events.tell(held, "", NOW)
    assert telling is not None
    events = [one["event"] for one in msgspec.json.decode(telling.body)]
    assert events == ["delivered", "processed", "processed", "delivered"]
    # Another address keeps the key, by which the receiver knows it.
    assert sendgrid_events.set_webhook({"url": "http://127.0.0.1:8080/other", "trouble": ""}, held) == first
