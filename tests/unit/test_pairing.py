"""What a connector sends along is what its paired feed reads back: by it engagement finds its outbound record."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from adapters.connectors.connector import ConnectorConfig, Request, connector
from domain.outbound import Outbound
from feeds.feed import Payload, feed_format

AT = 1_763_999_999


class Pair(NamedTuple):
    """`told` is what the vendor's event has of the request and of its answer, in the vendor's own form; `reads` says
    which of our ids come back: of the record, of its batch, or the outcome's reference. `called` is the address that
    the vendor calls."""

    connector: str
    feed: str
    told: Callable[[Mapping[str, Any], str], bytes]
    reads: frozenset[str]
    called: Callable[[Mapping[str, Any]], str] = lambda sent: ""


def sendgrid(sent: Mapping[str, Any], reference: str) -> bytes:
    person = sent["personalizations"][0]
    event = {"event": "open", "sg_event_id": "e-1", "timestamp": AT, "email": person["to"][0]["email"]}
    return json.dumps([event | person["custom_args"]]).encode()


def onesignal(sent: Mapping[str, Any], reference: str) -> bytes:
    who = sent["include_aliases"]["external_id"][0]
    event = {"id": "e-1", "kind": "message.push.received", "timestamp": AT, "external_id": who}
    return json.dumps({"event": event, "message": {"id": reference, "name": sent["name"]}}).encode()


def braze(sent: Mapping[str, Any], reference: str) -> bytes:
    who = {"external_user_id": sent["recipients"][0]["external_user_id"]}
    event = {
        "id": "e-1",
        "time": AT,
        "event_type": "users.messages.email.Open",
        "user": who,
        "properties": {"dispatch_id": reference},
    }
    return json.dumps({"events": [event]}).encode()


def airship(sent: Mapping[str, Any], reference: str) -> bytes:
    event = {
        "id": "e-1",
        "offset": "1",
        "occurred": "2025-11-24T16:01:00.000Z",
        "processed": "2025-11-24T16:01:00.100Z",
        "type": "OPEN",
        "device": {"ios_channel": "c-1", "named_user_id": "u-1"},
        "body": {"session_id": "s-1", "triggering_push": {"push_id": reference}},
    }
    return json.dumps(event).encode()


def twilio(sent: Mapping[str, Any], reference: str) -> bytes:
    said = {"MessageSid": reference, "MessageStatus": "delivered", "To": sent["To"], "From": sent["From"]}
    return urlencode(said).encode()


def twilio_calls(sent: Mapping[str, Any]) -> str:
    return str(sent["StatusCallback"])


PAIRS = [
    Pair("sendgrid_mail", "sendgrid", sendgrid, frozenset({"outbound_id", "outbound_batch"})),
    Pair("onesignal", "onesignal", onesignal, frozenset({"outbound_batch", "message_id"})),
    Pair("braze_campaign", "braze", braze, frozenset({"message_id"})),
    Pair("airship_push", "airship", airship, frozenset({"message_id"})),
    Pair(
        "twilio_sms",
        "twilio",
        twilio,
        frozenset({"outbound_id", "outbound_batch", "message_id"}),
        twilio_calls,
    ),
]


def body_of(request: Request) -> Any:
    if request.headers["content-type"] == "application/x-www-form-urlencoded":
        return dict(parse_qsl(request.body.decode()))
    said = msgspec.json.decode(request.body)
    return said[0] if isinstance(said, list) else said


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.connector)
def test_the_feed_reads_back_what_the_connector_sent(pair: Pair) -> None:
    wire = connector(pair.connector)
    example = wire.example
    assert example is not None
    config = ConnectorConfig("push", example.settings, example.secrets)
    outbound = Outbound(
        id="0b8f2c3e-0000-5000-8000-000000000001",
        connection="push",
        batch="0b8f2c3e-0000-5000-8000-000000000002",
        profile="p",
        audience="new_users",
        change="add",
        fields=example.fields(1),
        cause=1,
    )
    [request] = wire.render(config, [outbound])
    [judged] = wire.judge(config, request, example.accepted(request))
    assert judged.verdict == "delivered"
    sent = body_of(request)
    payload = Payload({}, pair.told(sent, judged.reference), AT * 1_000_000, pair.called(sent))
    [record] = feed_format(pair.feed).parse("engagement", payload)
    ours = {
        "outbound_id": outbound.id,
        "outbound_batch": outbound.batch,
        "message_id": judged.reference,
    }
    assert pair.reads
    assert {name: record.properties.get(name) for name in pair.reads} == {
        name: ours[name] for name in pair.reads
    }
    assert all(ours[name] for name in pair.reads)
