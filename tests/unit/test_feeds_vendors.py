"""What each vendor's payload becomes: which event, of whom, under which id, and what pairs it with our sending."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.engagement import EVENTS
from domain.records import ConsentTerms, Record, dig
from feeds import airship, braze, hubspot, onesignal, sendgrid, twilio
from feeds.feed import InvalidError, MalformedError, PartlyInvalidError, Payload, feed_format, feed_formats
from feeds.mparticle import parse_bulk
from tests.unit.payloads import EXAMPLES, MPARTICLE, Example, of

RECEIVED = 1_764_100_000_000_000


def payload(example: Example) -> Payload:
    return Payload(example.headers, example.body, RECEIVED, example.url)


def parsed(name: str, example: Example | None = None) -> list[Record]:
    return list(feed_format(name).parse("tool", payload(example or EXAMPLES[name])))


def told(record: Record) -> tuple[str, str, str, list[str]]:
    return record.type, record.name, record.message_id, [f"{i.kind}={i.value}" for i in record.identifiers]


ANN = ["user_id=u-1", "email=ann@example.com"]
BRAZE = ["user_id=u-1", "tool.user=0123456789abcdef01234567"]
MPARTICLE_ANN = [*ANN, "tool.other_id_2=x-2", "idfv=8c61383f-2216-4713-8c1c-1cb0a5d7a4cc"]

TOLD: dict[str, list[tuple[str, str, str, list[str]]]] = {
    "sendgrid": [
        ("track", "Email Sent", "sg-1", ANN),
        ("track", "Email Opened", "sg-2", ["email=ann@example.com"]),
        ("track", "Email Link Clicked", "sg-3", ["email=ann@example.com"]),
        ("track", "Email Bounced", "sg-4", ["email=bob@example.com"]),
        ("track", "sendgrid.deferred", "sg-5", ["email=bob@example.com"]),
    ],
    "stripe": [
        ("track", "invoice.paid", "evt_1", ["user_id=u-1", "tool.customer=cus_1", "email=ann@example.com"])
    ],
    "shopify": [
        (
            "track",
            "Order Completed",
            "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
            ["tool.customer=207119551", "email=ann@example.com", "phone=+4930901820"],
        )
    ],
    "hubspot": [
        (
            "track",
            "contact.propertyChange",
            "1-12345-123-1764000000000",
            ["tool.contact=123", "email=ann@example.com"],
        ),
        ("track", "deal.creation", "2-12346-456-1764000000500", []),
    ],
    "twilio": [("track", "SMS Bounced", "SM1:undelivered", ["user_id=u-1", "phone=+4930901820"])],
    "braze": [
        ("track", "Push Sent", "a1234567", [*BRAZE, "tool.device=fedcba87"]),
        ("track", "Email Opened", "b", [*BRAZE, "email=ann@example.com", "tool.device=fedcba87"]),
        ("track", "users.messages.inappmessage.Click", "c", [*BRAZE, "tool.device=fedcba87"]),
        ("track", "Tried", "d", [*BRAZE, "tool.device=fedcba87"]),
    ],
    "airship": [
        ("track", "Push Sent", "00000173-bb88", ["user_id=u-1", "tool.channel=c-1"]),
        ("track", "Push Opened", "00000173-bb89", ["user_id=u-1", "tool.channel=c-1"]),
        ("track", "purchased", "00000173-bb90", ["tool.channel=c-1"]),
    ],
    "mparticle": [
        ("identify", "", "r-1", MPARTICLE_ANN),
        ("track", "Signed Up", "m-1", MPARTICLE_ANN),
        ("track", "Order Completed", "r-1:1", MPARTICLE_ANN),
        ("screen", "Home", "r-1:2", MPARTICLE_ANN),
        ("track", "Push Opened", "r-1:3", MPARTICLE_ANN),
        ("track", "mparticle.session_start", "r-1:4", MPARTICLE_ANN),
    ],
    "cloudevents": [
        ("track", "com.example.receipt", "https://till.example.com/berlin e-1", ["user_id=u-1"]),
    ],
    "onesignal": [("track", "Email Bounced", "e-1", ["user_id=u-1", "onesignal_id=os-1"])],
    "standard_webhooks": [("track", "invoice.paid", "msg-1", ["user_id=u-1"])],
}


@pytest.mark.parametrize("name", TOLD)
def test_who_did_what_is_understood(name: str) -> None:
    assert [told(record) for record in parsed(name)] == TOLD[name]


def test_every_installed_format_has_an_example_and_is_checked() -> None:
    assert (
        set(EXAMPLES) == set(TOLD) == {n for n, p in feed_formats().items() if p.value.startswith("feeds.")}
    )


PAIRED: dict[str, list[dict[str, str]]] = {
    "sendgrid": [
        {"outbound_id": "o-1", "outbound_batch": "b-1", "message_id": "14c5d75ce93.filterdrecv-1"},
        {"message_id": "14c5d75ce93.filterdrecv-1"},
    ],
    "stripe": [{"outbound_id": "o-1"}],
    "twilio": [{"outbound_id": "o-1", "outbound_batch": "b-1", "message_id": "SM1"}],
    "braze": [{"message_id": "d-1"}, {"message_id": "d-2"}],
    "airship": [{"message_id": "p-1"}, {"message_id": "p-1"}],
    "onesignal": [{"message_id": "n-1", "outbound_batch": "b-1"}],
}


@pytest.mark.parametrize("name", PAIRED)
def test_what_we_sent_along_comes_back(name: str) -> None:
    for record, pair in zip(parsed(name), PAIRED[name], strict=False):
        known = ("outbound_id", "outbound_batch", "message_id")
        assert {key: record.properties[key] for key in known if key in record.properties} == pair
        assert record.properties["vendor_kind"]


@pytest.mark.parametrize("module", [sendgrid, braze, twilio, onesignal], ids=lambda module: module.__name__)
def test_engagement_is_told_in_the_shared_words(module: Any) -> None:
    assert set(module.NAMES.values()) <= set(EVENTS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_raw_payload_is_kept(name: str) -> None:
    """All of it: what is not in one record's body is in another's."""
    kept = [json.loads(bytes(record.body)) for record in parsed(name)]
    raw = EXAMPLES[name].body
    match name:
        case "twilio":
            from urllib.parse import parse_qsl

            assert kept == [dict(parse_qsl(raw.decode()))]
        case "airship":
            assert kept == [json.loads(line) for line in raw.splitlines() if line]
        case "braze":
            assert kept == json.loads(raw)["events"]
        case "mparticle":
            said = json.loads(raw)
            assert kept == [{k: v for k, v in said.items() if k != "events"}, *said["events"]]
        case _:
            said = json.loads(raw)
            assert kept == (said if isinstance(said, list) else [said])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_payload_again_is_the_same_records(name: str) -> None:
    later = payload(EXAMPLES[name])._replace(received_at=RECEIVED + 60_000_000)
    again = feed_format(name).parse("tool", later)
    assert [record.message_id for record in again] == [record.message_id for record in parsed(name)]


def test_times_are_the_vendors_own() -> None:
    assert parsed("hubspot")[1].occurred_at == 1_764_000_000_500_000
    assert parsed("shopify")[0].occurred_at == 1_764_003_601_123_456
    assert parsed("mparticle")[1].occurred_at == 1_764_000_000_123_000
    # Twilio tells none.
    assert parsed("twilio")[0].occurred_at == RECEIVED


def test_properties_can_be_asked_for_under_their_names() -> None:
    [order] = parsed("shopify")
    assert order.properties["total"] == 199.0
    assert order.properties["order_id"] == "820982911946154508"
    [invoice] = parsed("stripe")
    assert dig(json.loads(bytes(invoice.body)), invoice.properties_at)["amount_paid"] == 1999
    purchase = parsed("mparticle")[2]
    assert dig(json.loads(bytes(purchase.body)), purchase.properties_at)["total_amount"] == 12.5
    assert parsed("sendgrid")[2].properties["url"] == "https://shop.example.com/"
    assert parsed("hubspot")[1].properties["sourceId"] == "54321"


def test_a_contacts_changed_property_is_an_attribute_and_a_deals_is_not() -> None:
    contact, deal = parsed("hubspot")
    assert contact.traits == {"email": "ann@example.com"}
    changed = {"subscriptionType": "deal.propertyChange", "propertyName": "amount", "propertyValue": "3"}
    said = json.loads(EXAMPLES["hubspot"].body)[1] | changed
    [deal] = feed_format("hubspot").parse("tool", payload(Example(json.dumps(said).encode(), {})))
    assert deal.traits == {}


def test_a_batch_of_mparticles_tells_attributes_and_consent_once() -> None:
    identify, *events = parsed("mparticle")
    assert dig(json.loads(bytes(identify.body)), identify.traits_at)["tier"] == "gold"
    assert identify.consent == {"push": True, "data_sale": False}
    assert identify.consent_terms == {
        "push": ConsentTerms(jurisdiction="gdpr", document="v1", at=1_764_000_000_000_000),
        "data_sale": ConsentTerms(jurisdiction="ccpa"),
    }
    assert not any(event.traits_at or event.consent for event in events)


def test_an_advertising_id_is_no_identifier_where_tracking_is_limited() -> None:
    said = json.loads(MPARTICLE.body)
    said["device_info"]["limit_ad_tracking"] = False
    kinds = {i.kind for i in parsed("mparticle", of(said))[0].identifiers}
    assert "idfa" in kinds
    assert "idfa" not in {i.kind for i in parsed("mparticle")[0].identifiers}


def test_an_incoming_message_is_of_whoever_wrote_it() -> None:
    body = b"MessageSid=SM2&SmsStatus=received&From=whatsapp%3A%2B4930901820&To=%2B15017250604&Body=STOP"
    [record] = parsed("twilio", Example(body))
    assert told(record) == ("track", "SMS Received", "SM2:received", ["phone=+4930901820"])


def test_a_form_field_that_comes_twice_keeps_both_values() -> None:
    body = b"MessageSid=SM2&MessageStatus=sent&MediaUrl=a&MediaUrl=b&MediaUrl=c"
    [record] = parsed("twilio", Example(body))
    assert json.loads(bytes(record.body))["MediaUrl"] == ["a", "b", "c"]


def test_an_opening_of_the_app_is_none_of_a_pushs() -> None:
    event = {"id": "1", "type": "OPEN", "occurred": "2025-11-24T16:00:00Z", "body": {"session_id": "s"}}
    [record] = parsed("airship", of(event))
    assert record.name == "Application Opened"
    assert "message_id" not in record.properties


def test_an_empty_batch_of_brazes_asks_for_the_token_alone() -> None:
    assert parsed("braze", Example(b"")) == []
    assert parsed("braze", of({"events": []})) == []


BAD: dict[str, tuple[str, Any, type[Exception], str]] = {
    "sendgrid: no id": ("sendgrid", [{"event": "open", "timestamp": 1}], InvalidError, "/0/sg_event_id"),
    "sendgrid: no time": ("sendgrid", [{"event": "open", "sg_event_id": "1"}], InvalidError, "/0/timestamp"),
    "sendgrid: no object": ("sendgrid", [1], InvalidError, "/0"),
    "stripe: a list": ("stripe", [{}], InvalidError, ""),
    "stripe: no type": ("stripe", {"id": "evt"}, InvalidError, "/type"),
    "stripe: time in text": ("stripe", {"id": "e", "type": "t", "created": "now"}, InvalidError, "/created"),
    "shopify: no object": ("shopify", 3, InvalidError, ""),
    "hubspot: no event id": (
        "hubspot",
        [{"subscriptionType": "contact.creation"}],
        InvalidError,
        "/0/eventId",
    ),
    "braze: no list": ("braze", {"event": []}, MalformedError, "/events"),
    "braze: no id": ("braze", {"events": [{"event_type": "x"}]}, MalformedError, "/events/0/id"),
    "airship: no type": ("airship", {"id": "1"}, InvalidError, "/0/type"),
    "mparticle: no person": ("mparticle", {"environment": "production"}, InvalidError, "/user_identities"),
    "mparticle: no environment": ("mparticle", {}, InvalidError, "/environment"),
    "mparticle: no event type": (
        "mparticle",
        {"environment": "production", "mpid": 1, "events": [{"data": {}}]},
        InvalidError,
        "/events/0/event_type",
    ),
    "cloudevents: old": ("cloudevents", {"specversion": "0.3", "id": "1"}, InvalidError, "/specversion"),
    "cloudevents: no source": ("cloudevents", {"specversion": "1.0", "id": "1"}, InvalidError, "/source"),
    "onesignal: no event": ("onesignal", {"message": {}}, InvalidError, "/event"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_pointed_at(case: str) -> None:
    name, said, kind, pointer = BAD[case]
    with pytest.raises(kind) as caught:
        parsed(name, of(said))
    assert [problem.pointer for problem in caught.value.problems] == [pointer]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["sendgrid", "hubspot", "braze", "onesignal"])
def test_one_bad_event_among_good_ones_is_refused_alone_and_can_be_read_again_alone(name: str) -> None:
    said = json.loads(EXAMPLES[name].body)
    events = said["events"] if name == "braze" else said if isinstance(said, list) else [said]
    bad = {"bad": True}
    mixed = [*events, bad]
    with pytest.raises(PartlyInvalidError) as caught:
        parsed(name, of({"events": mixed} if name == "braze" else mixed))
    assert [told(record) for record in caught.value.records] == TOLD[name]
    [refused] = caught.value.refused
    assert json.loads(refused.raw) == ({"events": [bad]} if name == "braze" else bad)
    with pytest.raises((InvalidError, MalformedError)):
        parsed(name, Example(refused.raw))


def test_a_bad_batch_among_good_ones_is_refused_alone() -> None:
    good = json.loads(MPARTICLE.body)
    with pytest.raises(PartlyInvalidError) as caught:
        parse_bulk("tool", payload(of([good, {"environment": "moon"}])))
    assert [told(record) for record in caught.value.records] == TOLD["mparticle"]


def test_a_line_of_airships_stream_is_read_with_its_offset() -> None:
    lines = EXAMPLES["airship"].body.split(b"\n")
    read = [airship.read_line("tool", line, RECEIVED) for line in lines]
    assert [line.offset for line in read if line] == ["1000059326194", "1000059326195", "1000059326196"]
    assert read[-1] is None
    broken = airship.read_line("tool", b'{"offset": "7", "type": "SEND"}', RECEIVED)
    assert broken is not None
    assert (broken.offset, broken.records) == ("7", ())
    assert isinstance(broken.problem, InvalidError)


def test_where_to_go_on_is_either_an_offset_or_the_beginning() -> None:
    settings = {"app_key": "key"}
    first, next = (airship.request(settings, "token", offset) for offset in ("", "7"))
    assert json.loads(first.body) == {"start": "EARLIEST"}
    assert json.loads(next.body) == {"resume_offset": "7"}
    assert next.headers["authorization"] == "Bearer token"
    assert next.url == "https://connect.urbanairship.com/api/events"


@pytest.mark.parametrize(
    "settings", [{}, {"app_key": ""}, {"app_key": "k", "url": "x"}, {"app_key": "k", "u": 1}]
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="settings"):
        airship.request(settings, "token", "")


def test_hubspots_escapes_are_decoded_as_it_signs() -> None:
    assert hubspot._decoded("https://a/b?x=1%3A2%2f3%20") == "https://a/b?x=1:2/3%20"
