"""One payload as each vendor sends it, with the vendors' own field names, from their documentation.

What they are checked against is in test_feeds_vendors.py; test_feeds_hostile.py disfigures them.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode


class Example(NamedTuple):
    """A body with the headers that tell what it is; signatures are the tests' to make."""

    body: bytes
    headers: dict[str, str] = {}
    url: str = "https://cdp.example.com/v1/feeds/tool"


def of(said: Any, url: str = "https://cdp.example.com/v1/feeds/tool", **headers: str) -> Example:
    return Example(json.dumps(said).encode(), {k.replace("_", "-"): v for k, v in headers.items()}, url)


SENDGRID: Final = of(
    [
        {
            "email": "ann@example.com",
            "timestamp": 1_764_000_000,
            "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
            "event": "processed",
            "category": ["welcome"],
            "sg_event_id": "sg-1",
            "sg_message_id": "14c5d75ce93.filterdrecv-1",
            "outbound_id": "o-1",
            "outbound_batch": "b-1",
            "user_id": "u-1",
        },
        {
            "email": "Ann@Example.com",
            "timestamp": 1_764_000_060,
            "event": "open",
            "sg_machine_open": False,
            "sg_event_id": "sg-2",
            "sg_message_id": "14c5d75ce93.filterdrecv-1",
            "useragent": "Mozilla/5.0",
            "ip": "255.255.255.255",
        },
        {
            "email": "ann@example.com",
            "timestamp": 1_764_000_061,
            "event": "click",
            "url": "https://shop.example.com/",
            "sg_event_id": "sg-3",
            "sg_message_id": "14c5d75ce93.filterdrecv-1",
        },
        {
            "email": "bob@example.com",
            "timestamp": 1_764_000_062,
            "event": "bounce",
            "reason": "500 unknown recipient",
            "status": "5.0.0",
            "type": "bounce",
            "sg_event_id": "sg-4",
        },
        {
            "email": "bob@example.com",
            "timestamp": 1_764_000_063,
            "event": "deferred",
            "response": "400 try again later",
            "attempt": "5",
            "sg_event_id": "sg-5",
            "sg_message_id": "m-5",
        },
    ]
)

STRIPE: Final = of(
    {
        "id": "evt_1",
        "object": "event",
        "api_version": "2025-05-28.basil",
        "created": 1_764_000_000,
        "type": "invoice.paid",
        "livemode": True,
        "data": {
            "object": {
                "id": "in_1",
                "object": "invoice",
                "amount_paid": 1999,
                "currency": "eur",
                "customer": "cus_1",
                "customer_email": "ann@example.com",
                "metadata": {"user_id": "u-1", "outbound_id": "o-1"},
            }
        },
        "request": {"id": None, "idempotency_key": None},
    }
)

SHOPIFY: Final = of(
    {
        "id": 820982911946154508,
        "name": "#1001",
        "email": "ann@example.com",
        "created_at": "2025-11-24T12:00:00-05:00",
        "currency": "EUR",
        "total_price": "199.00",
        "financial_status": "paid",
        "customer": {"id": 207119551, "email": "ann@example.com", "phone": "+4930901820"},
        "line_items": [{"id": 466157049, "title": "Hoodie", "quantity": 1, "price": "199.00"}],
    },
    x_shopify_topic="orders/create",
    x_shopify_webhook_id="b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
    x_shopify_triggered_at="2025-11-24T17:00:01.123456789Z",
    x_shopify_shop_domain="cool.myshopify.com",
)

HUBSPOT: Final = of(
    [
        {
            "eventId": 1,
            "subscriptionId": 12345,
            "portalId": 62515,
            "appId": 54321,
            "occurredAt": 1_764_000_000_000,
            "subscriptionType": "contact.propertyChange",
            "attemptNumber": 0,
            "objectId": 123,
            "propertyName": "email",
            "propertyValue": "ann@example.com",
            "changeSource": "CRM_UI",
        },
        {
            "eventId": 2,
            "subscriptionId": 12346,
            "portalId": 62515,
            "occurredAt": 1_764_000_000_500,
            "subscriptionType": "deal.creation",
            "attemptNumber": 1,
            "objectId": 456,
            "changeSource": "INTEGRATION",
            "sourceId": "54321",
        },
    ]
)

TWILIO: Final = Example(
    urlencode(
        {
            "SmsSid": "SM1",
            "SmsStatus": "undelivered",
            "MessageStatus": "undelivered",
            "To": "+4930901820",
            "MessageSid": "SM1",
            "AccountSid": "AC1",
            "From": "+15017250604",
            "ApiVersion": "2010-04-01",
            "ErrorCode": "30003",
        }
    ).encode(),
    {"content-type": "application/x-www-form-urlencoded"},
    "https://cdp.example.com/v1/feeds/tool?outbound_id=o-1&outbound_batch=b-1&user_id=u-1",
)


def braze(event_type: str, properties: dict[str, Any], id: str = "a1234567") -> dict[str, Any]:
    return {
        "event_type": event_type,
        "id": id,
        "time": 1_764_000_000,
        "user": {
            "user_id": "0123456789abcdef01234567",
            "external_user_id": "u-1",
            "device_id": "fedcba87",
            "timezone": "America/Chicago",
        },
        "properties": properties,
    }


BRAZE: Final = of(
    {
        "events": [
            braze(
                "users.messages.pushnotification.Send",
                {"campaign_name": "Test Campaign", "send_id": "f12", "dispatch_id": "d-1", "platform": "ios"},
            ),
            braze(
                "users.messages.email.Open", {"email_address": "ann@example.com", "dispatch_id": "d-2"}, "b"
            ),
            braze("users.messages.inappmessage.Click", {"button_id": "0"}, "c"),
            braze("users.behaviors.CustomEvent", {"name": "Tried", "custom_properties": {"n": 1}}, "d"),
        ]
    },
    braze_currents_version="1",
)

AIRSHIP: Final = Example(
    b"\n".join(
        json.dumps(event).encode()
        for event in (
            {
                "id": "00000173-bb88",
                "offset": "1000059326194",
                "occurred": "2025-11-24T16:00:00.000Z",
                "processed": "2025-11-24T16:00:00.100Z",
                "type": "SEND",
                "device": {"channel": "c-1", "device_type": "IOS"},
                "user": {"named_user_id": "u-1"},
                "body": {"push_id": "p-1", "group_id": "g-1", "variant_id": 1},
            },
            {
                "id": "00000173-bb89",
                "offset": "1000059326195",
                "occurred": "2025-11-24T16:01:00.000Z",
                "processed": "2025-11-24T16:01:00.100Z",
                "type": "OPEN",
                "device": {"ios_channel": "c-1", "named_user_id": "u-1"},
                "body": {"session_id": "s-1", "triggering_push": {"push_id": "p-1"}},
            },
            {
                "id": "00000173-bb90",
                "offset": "1000059326196",
                "occurred": "2025-11-24T16:02:00.000Z",
                "processed": "2025-11-24T16:02:00.100Z",
                "type": "CUSTOM",
                "device": {"channel": "c-1", "device_type": "IOS"},
                "body": {"name": "purchased", "value": 9.99, "properties": {"sku": "s"}},
            },
        )
    )
    + b"\n\n"
)

MPARTICLE: Final = of(
    {
        "environment": "production",
        "schema_version": 2,
        "source_request_id": "r-1",
        "user_identities": {"customer_id": "u-1", "email": "Ann@example.com", "other_id_2": "x-2"},
        "user_attributes": {"$firstname": "Ann", "tier": "gold"},
        "device_info": {
            "platform": "iOS",
            "ios_idfv": "8C61383F-2216-4713-8c1c-1cb0a5d7a4cc",
            "ios_advertising_id": "613ff528-afd1-4c1b-9628-e6ed25ece9c0",
            "limit_ad_tracking": True,
        },
        "consent_state": {
            "gdpr": {
                "push": {"consented": True, "document": "v1", "timestamp_unixtime_ms": 1_764_000_000_000}
            },
            "ccpa": {"data_sale_opt_out": {"consented": True}},
        },
        "events": [
            {
                "event_type": "custom_event",
                "data": {
                    "event_name": "Signed Up",
                    "custom_event_type": "other",
                    "source_message_id": "m-1",
                    "timestamp_unixtime_ms": 1_764_000_000_123,
                    "custom_attributes": {"plan": "pro"},
                },
            },
            {
                "event_type": "commerce_event",
                "data": {
                    "product_action": {"action": "purchase", "total_amount": 12.5},
                    "currency_code": "EUR",
                },
            },
            {"event_type": "screen_view", "data": {"screen_name": "Home"}},
            {"event_type": "push_message", "data": {"push_message_type": "action"}},
            {"event_type": "session_start", "data": {}},
        ],
    }
)

CLOUD_EVENT: Final = of(
    {
        "specversion": "1.0",
        "id": "e-1",
        "source": "https://till.example.com/berlin",
        "type": "com.example.receipt",
        "time": "2025-11-24T16:00:00Z",
        "datacontenttype": "application/json",
        "data": {"user_id": "u-1", "total": 12.5},
    },
    content_type="application/cloudevents+json; charset=utf-8",
)

ONESIGNAL: Final = of(
    {
        "event": {
            "kind": "message.email.hardbounced",
            "id": "e-1",
            "timestamp": 1_764_000_000,
            "external_id": "u-1",
            "onesignal_id": "os-1",
        },
        "message": {"id": "n-1", "name": "b-1"},
    }
)

STANDARD: Final = of(
    {"type": "invoice.paid", "timestamp": "2025-11-24T16:00:00Z", "data": {"user_id": "u-1", "amount": 7}},
    webhook_id="msg-1",
)

#: Format → its payload, for what holds for all of them.
EXAMPLES: Final[dict[str, Example]] = {
    "airship": AIRSHIP,
    "braze": BRAZE,
    "cloudevents": CLOUD_EVENT,
    "hubspot": HUBSPOT,
    "mparticle": MPARTICLE,
    "onesignal": ONESIGNAL,
    "sendgrid": SENDGRID,
    "shopify": SHOPIFY,
    "standard_webhooks": STANDARD,
    "stripe": STRIPE,
    "twilio": TWILIO,
}
