"""Twilio: messages sent by `POST /2010-04-01/Accounts/<Sid>/Messages.json`, and the callbacks of their status.

Source: twilio.com/docs/messaging/api/message-resource (parameters, and the request to the StatusCallback URL),
usage/security (X-Twilio-Signature: HMAC-SHA1 over the address and the sorted form), api/errors, and
iam/test-credentials: the numbers below +1500555 are refused as with test credentials. Any account will do that shows
the secret as its auth token. What Twilio finds out later is said at once here, and a callback is told until it is
taken, as Twilio does where the address asks for that after a #. Control:

POST /twilio/simulate/unreachable  ["+43…"]: numbers whose messages are not delivered
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from simulators.vendors.held import Held
from simulators.vendors.vendor import (
    UNTOLD,
    Call,
    Refused,
    Reply,
    Telling,
    Vendor,
    basic,
    media_type,
    no_limits,
    same,
)

MAX_TEXT: Final = 1_600
FORM: Final = "application/x-www-form-urlencoded"
_PATH: Final = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages\.json")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER: Final = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 &+_.-]{1,11}")
#: Of the recipient, and of the sender.
_MAGIC_TO: Final = {
    "+15005550001": (21211, "The 'To' number is not a valid phone number."),
    "+15005550002": (21612, "The 'To' phone number is not currently reachable via SMS."),
    "+15005550003": (21408, "Permission to send an SMS has not been enabled for the region."),
    "+15005550004": (21610, "Attempt to send to unsubscribed recipient"),
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
_MAGIC_FROM: Final = {
    "+15005550001": (
        21212,
        "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID.",
    ),
    "+15005550007": (
        21606,
        "The 'From' phone number is not a valid, SMS-capable phone number for your account.",
    ),
    "+15005550008": (21611, "This 'From' number has exceeded the maximum number of queued messages."),
}
_UNREACHABLE: Final = "30003"


def answer(call: Call, held: Held, secret: str) -> Reply:
    path = _PATH.fullmatch(call.path)
    if call.method != "POST" or path is None:
        raise Refused("unknown_path", _said(404, 20404, "The requested resource was not found"))
    user, password = basic(call)
    if user != path[1] or not same(password, secret):
        raise Refused("unauthorized", _said(401, 20003, "Authenticate"))
    if media_type(call) != FORM:
        raise Refused("media_type", _said(415, 20415, "Unsupported Media Type"))
    form = dict(parse_qsl(call.body.decode("utf-8", "replace")))
    _check(form)
    return _send(path[1], form, held, call.now)


def _check(form: Mapping[str, str]) -> None:
    to, sender = form.get("To", ""), form.get("From", "")
    if not to:
        raise _invalid(21604, "A 'To' phone number is required.")
    if not _NUMBER.fullmatch(to):
        raise _invalid(21211, f"The 'To' number {to} is not a valid phone number.")
    if not sender and not re.fullmatch("MG[0-9a-fA-F]{32}", form.get("MessagingServiceSid", "")):
        raise _invalid(21603, "A 'From' phone number is required.")
    if sender and not _SENDER.fullmatch(sender):
        raise _invalid(*_MAGIC_FROM["+15005550001"])
    if sender in _MAGIC_FROM:
        raise _invalid(*_MAGIC_FROM[sender])
    if to in _MAGIC_TO:
        raise _invalid(*_MAGIC_TO[to])
    if not form.get("Body") and not form.get("ContentSid"):
        raise _invalid(21602, "Message body is required.")
    if len(form.get("Body", "")) > MAX_TEXT:
        raise _invalid(21617, "The concatenated message body exceeds the 1600 character limit")
    if "ContentVariables" in form and not _are_variables(form):
        raise _invalid(21656, "The Content Variables parameter is invalid.")
    if "StatusCallback" in form and not _is_url(form["StatusCallback"]):
        raise _invalid(21609, "The 'StatusCallback' URL is not a valid URL.")


def _are_variables(form: Mapping[str, str]) -> bool:
    try:
        said = json.loads(form["ContentVariables"])
    except json.JSONDecodeError:
        return False
    return (
        "ContentSid" in form
        and isinstance(said, dict)
        and all(isinstance(value, str) and len(value) <= MAX_TEXT for value in said.values())
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in parts.netloc


def _send(account: str, form: Mapping[str, str], held: Held, now: float) -> Reply:
    held.count("messages")
    sid = f"SM{uuid.UUID(int=held.counted('messages')).hex}"
    held.put("messages", sid, form)
    callback = form.get("StatusCallback")
    if callback:
        unreachable = held.get("unreachable", form["To"]) is not None
        for status in ("sent", "undelivered" if unreachable else "delivered"):
            held.append(UNTOLD, {"url": callback, "form": _callback(account, sid, form, status)})
    return Reply(
        201,
        {
            "sid": sid,
            "account_sid": account,
            "api_version": "2010-04-01",
            "status": "accepted" if "MessagingServiceSid" in form else "queued",
            "direction": "outbound-api",
            "to": form["To"],
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "body": form.get("Body", ""),
            "num_segments": "1",
            "error_code": None,
            "error_message": None,
            "date_created": format_datetime(datetime.fromtimestamp(int(now), UTC)),
            "uri": f"/2010-04-01/Accounts/{account}/Messages/{sid}.json",
        },
    )


def _callback(account: str, sid: str, form: Mapping[str, str], status: str) -> dict[str, str]:
    said = {
        "AccountSid": account,
        "ApiVersion": "2010-04-01",
        "From": form.get("From", "+15005550006"),
        "MessageSid": sid,
        "MessageStatus": status,
        "SmsSid": sid,
        "SmsStatus": status,
        "To": form["To"],
    }
    return said | ({"ErrorCode": _UNREACHABLE} if status == "undelivered" else {})


def tell(held: Held, secret: str, now: float) -> Telling | None:
    """One callback a request, signed for the address that is called."""
    for key, callback in held.all(UNTOLD).items():
        url = urlsplit(callback["url"])._replace(fragment="").geturl()
        signed = url + "".join(name + value for name, value in sorted(callback["form"].items()))
        digest = hmac.new(secret.encode(), signed.encode(), hashlib.sha1).digest()
        headers = {"content-type": FORM, "x-twilio-signature": base64.b64encode(digest).decode()}
        return Telling(url, headers, urlencode(callback["form"]).encode(), (key,))
    return None


def set_unreachable(said: Any, held: Held) -> dict[str, int]:
    if not isinstance(said, list) or not all(isinstance(one, str) and _NUMBER.fullmatch(one) for one in said):
        raise ValueError("the body is not a JSON list of numbers, as in +436641234567")
    for one in said:
        held.put("unreachable", one, True)
    return {"unreachable": len(said)}


def _said(status: int, code: int, message: str) -> Reply:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return Reply(status, {"code": code, "message": message, "more_info": more, "status": status})


def _invalid(code: int, message: str) -> Refused:
    return Refused("invalid", _said(400, code, message))


def refuse(status: int, code: int | None) -> Reply:
    words = {429: (20429, "Too Many Requests"), 503: (20503, "Service is temporarily unavailable")}
    known, message = words.get(status, (20500, "Scripted fault"))
    return _said(status, code or known, message)


TWILIO: Final = Vendor(answer, refuse, no_limits, tell, {"unreachable": set_unreachable})
