"""A receiver of Standard Webhooks, which verifies as the specification has it, by the specification's own words.

Source: github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from simulators.vendors.held import Held
from simulators.vendors.vendor import Call, Refused, Reply, Vendor, no_limits, read_json

_TOLERANCE_S: Final = 300


def answer(call: Call, held: Held, secret: str) -> Reply:
    """`secret` is `whsec_` and base64, or any text, whose base64 is then the key's."""
    told = {name: call.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")}
    if call.method != "POST":
        raise Refused("method", Reply(405, "method not allowed"))
    if not told["id"] or "." in told["id"] or not told["timestamp"].isdigit():
        raise Refused("headers", Reply(400, "missing headers"))
    if abs(call.now - int(told["timestamp"])) > _TOLERANCE_S:
        raise Refused("timestamp", Reply(400, "message timestamp too old or too new"))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{told['id']}.{told['timestamp']}.".encode() + call.body
    right = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if not any(hmac.compare_digest(right, one) for one in told["signature"].split(" ")):
        raise Refused("signature", Reply(401, "no matching signature found"))
    body = read_json(call)
    if not isinstance(body, dict) or not {"type", "data"} <= set(body):
        raise Refused("body", Reply(422, "type and data are expected"))
    if held.get("messages", told["id"]) is not None:
        held.count("repeated")
    held.put("messages", told["id"], {**body, "path": call.path})
    return Reply(204)


def refuse(status: int, code: int | None) -> Reply:
    return Reply(status, "scripted fault")


WEBHOOK: Final = Vendor(answer, refuse, no_limits)
