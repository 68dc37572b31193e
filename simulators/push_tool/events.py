"""What the push tool says happened to a message: its event stream, rendered as the webhook's body. Pure.

Source: documentation.onesignal.com/docs: event-streams, event-streams-data. A customer writes the body as a
Liquid template; this one is to be pasted into *Data → Event Streams → Custom Body*:

    {
      "event": {
        "kind": "{{ event.kind }}",
        "id": "{{ event.id }}",
        "timestamp": {{ event.timestamp }},
        "datetime": "{{ event.datetime }}",
        "app_id": "{{ event.app_id }}",
        "subscription_id": "{{ event.subscription_id }}",
        "subscription_device_type": "{{ event.subscription_device_type }}",
        "onesignal_id": "{{ event.onesignal_id }}",
        "external_id": "{{ event.external_id }}",
        "data": {"failure_reason": "{{ event.data.failure_reason }}"}
      },
      "message": {
        "id": "{{ message.id }}",
        "name": "{{ message.name }}",
        "template_id": "{{ message.template_id }}"
      }
    }

Two liberties over the vendor, which sends one event a request and documents no way to get a notification's
own `data` back: the simulator adds that `data` to `event.data`, and may post many bodies as a JSON array.
A receiver for the real vendor must do without both; what joins its events to a send is `message.id`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from simulators.times import SECOND, write_time

SENT: Final = "message.push.sent"
RECEIVED: Final = "message.push.received"
CLICKED: Final = "message.push.clicked"
FAILED: Final = "message.push.failed"
UNSUBSCRIBED: Final = "message.push.unsubscribed"

#: Simulated time between sending a message and its arrival on the device.
TRAVEL: Final = 2 * SECOND

_DEVICES: Final = ("iOS", "Android")
_BOUNCE: Final = "The device token is no longer registered"


class Behaviour(NamedTuple):
    """How a person takes a push: `opens_after_s` is seconds from sending, `None` for never."""

    external_id: str
    outcome: Literal["delivered", "bounced"]
    opens_after_s: int | None
    unsubscribes: bool = False


class Happening(NamedTuple):
    """One event to come: `at` is what it will say, `due_at` when it may be told, both simulated."""

    kind: str
    at: int
    due_at: int


class Event(NamedTuple):
    """One event to tell, with what its message was about. `seq` is its place in the outbox."""

    seq: int
    kind: str
    at: int
    external_id: str
    notification_id: str
    data: dict[str, Any]
    name: str | None
    template_id: str | None


def happenings(behaviour: Behaviour, sent_at: int) -> list[Happening]:
    """What follows from a message, in order. One that bounces was never handed over, so it was not `sent`."""
    if behaviour.outcome == "bounced":
        return [Happening(FAILED, sent_at, sent_at)]
    found = [Happening(SENT, sent_at, sent_at), Happening(RECEIVED, sent_at + TRAVEL, sent_at)]
    if behaviour.opens_after_s is not None:
        opened = sent_at + behaviour.opens_after_s * SECOND
        found.append(Happening(CLICKED, opened, opened))
    if behaviour.unsubscribes:
        found.append(found[-1]._replace(kind=UNSUBSCRIBED))
    return found


def stable_id(*parts: str) -> str:
    """The same parts have the same id, which looks random: a version 4 UUID, as the vendor's are."""
    return str(UUID(bytes=hashlib.sha256("\x1f".join(parts).encode()).digest()[:16], version=4))


def render(event: Event, app_id: str) -> dict[str, Any]:
    """The webhook's body for one event. The same event has the same body, however often it is told."""
    device = int.from_bytes(hashlib.sha256(event.external_id.encode()).digest()[:1], "big")
    reason = {"failure_reason": _BOUNCE} if event.kind == FAILED else {}
    return {
        "event": {
            "kind": event.kind,
            "id": stable_id("event", event.notification_id, event.external_id, event.kind),
            "timestamp": event.at // SECOND,
            "datetime": write_time(event.at),
            "app_id": app_id,
            "subscription_id": stable_id("subscription", app_id, event.external_id),
            "subscription_device_type": _DEVICES[device % len(_DEVICES)],
            "onesignal_id": stable_id("onesignal", app_id, event.external_id),
            "external_id": event.external_id,
            "data": {**event.data, **reason},
        },
        "message": {
            "id": event.notification_id,
            "name": event.name or "",
            "template_id": event.template_id or "",
        },
    }
