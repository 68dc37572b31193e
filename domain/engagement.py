"""What became of a message, in the same words for every vendor, so that one audience asks them all.

`Email Delivered`, `Email Opened`, `Email Link Clicked`, `Email Bounced` and `Email Marked as Spam` are Segment's
(segment.com/docs/connections/spec/email); the others are formed like them. A feed that knows the message says
so in its record's properties: `message_id` (the vendor's own id of the message), `campaign` (its id of the campaign or
template that the message was made by), `outbound_id` and `outbound_batch` (ours, where the vendor gives them back),
`vendor_kind` (the vendor's word for the event).
"""

from __future__ import annotations

from typing import Any, Final

#: Event → when it is said.
EVENTS: Final = {
    "Push Sent": "handed to the platform's push service",
    "Push Delivered": "shown on the device, where the vendor can tell",
    "Push Opened": "tapped",
    "Push Bounced": "could not be delivered",
    "Push Unsubscribed": "no more pushes are wanted, or the app is gone",
    "Email Sent": "taken for sending",
    "Email Delivered": "taken by the recipient's server",
    "Email Opened": "opened, by the person or by a machine for them",
    "Email Link Clicked": "a link in it was followed",
    "Email Bounced": "given back by the recipient's server, or not sent as it would be",
    "Email Marked as Spam": "the recipient complained",
    "Email Unsubscribed": "no more e-mail is wanted",
    "SMS Sent": "handed to the carrier",
    "SMS Delivered": "confirmed by the carrier",
    "SMS Link Clicked": "a link in it was followed",
    "SMS Bounced": "could not be delivered",
    "SMS Received": "the person wrote",
}


def events_of(channel: str) -> frozenset[str]:
    """The events of one channel: `Push`, `Email` or `SMS`."""
    return frozenset(event for event in EVENTS if event.startswith(f"{channel} "))


def engagement(
    kind: str, message_id: Any = None, sent: dict[str, Any] | None = None, campaign: Any = None
) -> dict[str, Any]:
    """The properties of a message's event. `sent` is where the vendor gives back what our connector sent
    along: `outbound_id`, `outbound_batch`. What is not known is left out."""
    back = sent or {}
    found = {
        "message_id": message_id,
        "campaign": campaign,
        "outbound_id": back.get("outbound_id"),
        "outbound_batch": back.get("outbound_batch"),
        "vendor_kind": kind,
    }
    return {name: value for name, value in found.items() if isinstance(value, str) and value}
