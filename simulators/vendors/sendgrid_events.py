"""SendGrid's Event Webhook: what became of each mail, signed.

Source: twilio.com/docs/sendgrid/for-developers/tracking-events: event (fields), and
getting-started-event-webhook-security-features (ECDSA P-256 over time and body; the public key is told when signing
is switched on). What SendGrid finds out later is said at once here: every mail is delivered. Controls:

POST /sendgrid/simulate/webhook  {"url": "…", "trouble": ""}: where events go; answers the `public_key`. By the
                                 trouble `late` each delivery repeats its events, in another order
POST /sendgrid/simulate/engage   [{"email": "…", "event": "open", "at": "2026-01-05T09:00:00Z"}]: what people do with
                                 the last mail that they got, in order; `at` is now where it is left out
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from simulators.times import SECOND, read_time
from simulators.vendors.held import Held
from simulators.vendors.vendor import UNTOLD, Telling

TROUBLES: Final = ("", "late")
EVENTS: Final = ("open", "click", "bounce", "dropped", "spamreport", "unsubscribe", "group_unsubscribe")
#: Events of one request; SendGrid's limit is one of bytes.
BATCH: Final = 500
_LINK: Final = "https://shop.example.com/cart"


def sent(held: Held, email: str, person: Mapping[str, Any], message_id: str, now: float) -> None:
    """A mail has gone out. Where no webhook is set nobody is ever told of it."""
    if held.get("webhook", "events") is None:
        return
    mail = {"email": email, "sg_message_id": message_id, **person.get("custom_args", {})}
    held.put("newest_mails", email.lower(), mail)
    for event in ("processed", "delivered"):
        _queue(held, mail, event, int(now))


def _queue(held: Held, mail: Mapping[str, Any], event: str, at: int) -> None:
    said = {**mail, "event": event, "timestamp": at}
    if event in ("open", "click"):
        said |= {"useragent": "Mozilla/5.0", "ip": "203.0.113.7"}
    if event == "click":
        said["url"] = _LINK
    number = held.counted("events") + 1
    held.count("events")
    said["sg_event_id"] = base64.urlsafe_b64encode(uuid.UUID(int=number).bytes).decode().rstrip("=")
    held.put(UNTOLD, str(number), said)


def tell(held: Held, secret: str, now: float) -> Telling | None:
    webhook, untold = held.get("webhook", "events"), dict(list(held.all(UNTOLD).items())[:BATCH])
    if webhook is None or not untold:
        return None
    events = list(untold.values())
    if webhook["trouble"] == "late":
        events = [*events[::-1], *events]
    body, at = orjson.dumps(events), str(int(now))
    signature = _key(webhook["key"]).sign(at.encode() + body, ECDSA(SHA256()))
    headers = {
        "content-type": "application/json",
        "x-twilio-email-event-webhook-signature": base64.b64encode(signature).decode(),
        "x-twilio-email-event-webhook-timestamp": at,
    }
    return Telling(webhook["url"], headers, body, tuple(untold))


def set_webhook(said: Any, held: Held) -> dict[str, str]:
    if not isinstance(said, dict) or set(said) != {"url", "trouble"}:
        raise ValueError("the body is not a JSON object of url and trouble")
    if said["trouble"] not in TROUBLES:
        raise ValueError(f"trouble is one of {', '.join(map(repr, TROUBLES))}")
    key = (held.get("webhook", "events") or {}).get("key") or _new_key()
    held.put("webhook", "events", {**said, "key": key})
    public = _key(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"public_key": base64.b64encode(public).decode()}


def _new_key() -> str:
    made = generate_private_key(SECP256R1())
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _key(pem: str) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


def engage(said: Any, held: Held) -> dict[str, int]:
    if not isinstance(said, list):
        raise ValueError("the body is not a JSON list of what people do")
    for index, one in enumerate(said):
        if not isinstance(one, dict) or not {"email", "event"} <= set(one) <= {"email", "event", "at"}:
            raise ValueError(f"[{index}] is not an object of email, event and perhaps at")
        if one["event"] not in EVENTS:
            raise ValueError(f"[{index}].event is one of {', '.join(EVENTS)}")
        mail = held.get("newest_mails", str(one["email"]).lower())
        if mail is None:
            raise ValueError(f"[{index}].email has got no mail since the webhook was set")
        _queue(held, mail, one["event"], read_time(one["at"]) // SECOND if "at" in one else int(time.time()))
    return {"events": len(said)}
