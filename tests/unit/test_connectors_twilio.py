"""An SMS by Twilio: what goes into the form, and what Twilio's codes mean."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from adapters.connectors.connector import Answer, ConnectorConfig
from adapters.connectors.twilio_sms import CONNECTOR
from domain.outbound import Outbound

SETTINGS: dict[str, Any] = {
    "account_sid": "AC" + "0" * 32,
    "from": "+15005550006",
    "body": "Your cart is waiting",
    "status_callback": "https://cdp.example.com/v1/feeds/sms?x=1#rc=5",
}


def config(**changed: Any) -> ConnectorConfig:
    settings = {name: value for name, value in (SETTINGS | changed).items() if value is not None}
    return ConnectorConfig("sms", settings, {"auth_token": "token"})


def record(number: int, phone: str, change: str = "add", **more: Any) -> Outbound:
    fields = {"phone": phone} | more.pop("fields", {})
    return Outbound(
        id=f"o-{number}",
        connection="sms",
        batch="b-1",
        profile=f"p{number}",
        audience="waiting",
        change=change,  # type: ignore[arg-type]
        fields=fields,
        cause=1,
        **more,
    )


def forms(config: ConnectorConfig, *records: Outbound) -> list[dict[str, str]]:
    CONNECTOR.check(config)
    return [dict(parse_qsl(request.body.decode())) for request in CONNECTOR.render(config, records)]


def test_a_number_gets_one_sms_of_a_batch_and_its_ids_go_along() -> None:
    told = [record(1, "+43 664 1234567"), record(2, "0664 1234567"), record(3, "+436641234567")]
    [form] = forms(config(), *told)
    assert form == {
        "To": "+436641234567",
        "From": "+15005550006",
        "Body": "Your cart is waiting",
        "StatusCallback": "https://cdp.example.com/v1/feeds/sms?x=1&outbound_id=o-3&outbound_batch=b-1#rc=5",
    }
    [request] = CONNECTOR.render(config(), told)
    assert [one.id for one in request.outbound] == ["o-1", "o-3"]


def test_a_template_has_the_fields_and_an_events_properties_as_its_variables() -> None:
    to = config(
        body=None, content_sid="HX" + "0" * 32, **{"from": None, "messaging_service_sid": "MG" + "0" * 32}
    )
    event = record(
        1, "+436641234567", "event", fields={"name": "Ada", "no": None}, event="E", properties={"total": 12.5}
    )
    [form] = forms(to, event)
    assert "Body" not in form and "From" not in form
    assert msgspec.json.decode(form["ContentVariables"]) == {"name": "Ada", "no": "", "total": "12.5"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"account_sid": "SK" + "0" * 32}, "settings.account_sid is no SID"),
        ({"from": None}, "settings.from or messaging_service_sid"),
        ({"from": "+0"}, "settings.from is no sender"),
        ({"content_sid": "HX" + "0" * 32}, "settings.body or content_sid"),
        ({"body": "x" * 1_601}, "at most 1,600 characters"),
        ({"status_callback": "https://my_host/v1/feeds/sms"}, "settings.status_callback is not a URL"),
        ({"status_callback": 7}, "settings.status_callback is not a URL"),
    ],
)
def test_a_mistake_is_named(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"connection 'sms': .*{words}"):
        CONNECTOR.check(config(**changed))


@pytest.mark.parametrize(
    ("status", "code", "verdict", "after_s", "words"),
    [
        (201, None, "delivered", None, ""),
        (400, 21610, "dead", None, "error 21610, the person has opted out"),
        (400, 21612, "dead", None, "see twilio.com/docs/api/errors/21612"),
        (400, 21611, "retry", 60.0, "queue at Twilio is full"),
        (400, 21606, "retry", 110.0, "mend the connection's sender"),
        (401, 20003, "retry", 110.0, "renew them"),
        (429, 20429, "retry", None, "429"),
        (503, 20503, "retry", None, "503"),
        (400, 436641234567, "dead", None, "Twilio answered 400"),
    ],
)
def test_twilio_says_by_its_code(
    status: int, code: int | None, verdict: str, after_s: float | None, words: str
) -> None:
    [request] = CONNECTOR.render(config(), [record(1, "+436641234567")])
    said = {"sid": "SM1"} if code is None else {"code": code, "message": "+436641234567", "status": status}
    [one] = CONNECTOR.judge(config(), request, Answer(status, {}, msgspec.json.encode(said)))
    assert (one.verdict, one.after_s, one.reference) == (verdict, after_s, "SM1" if status == 201 else "")
    assert words in one.reason
    assert "664123" not in one.reason
