"""Airship's Real-Time Data Streaming: a stream that is pulled, newline-delimited JSON, each event with its offset.

Sources: docs.airship.com/developer/rest-api/connect (request, stream, offsets, what a duplicate is), and Airship's
public `connect-python-library` and `connect-java-library` (307 with a cookie, blank lines that keep the connection
alive, the bodies of SEND and OPEN). Airship keeps 7 days or 100 GB. An event that is sent twice has the same `id`
and another offset. What could not be confirmed: the types and bodies of e-mail and SMS events; they come in as
`airship.<type>`, whole.

Pairs with a connector by `body.push_id`, which Airship's send endpoint answers: `message_id` in the properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from domain.engagement import engagement
from domain.records import Record
from feeds.feed import (
    FeedError,
    FeedFormat,
    InvalidError,
    Line,
    Payload,
    Problem,
    Stream,
    StreamRequest,
    TooLargeError,
    UnverifiedError,
)
from feeds.fields import identifiers_of, object_in, require_text, text_of, vendors
from feeds.items import ITEMS_LIMIT, Item, gather, read_object
from feeds.times import parse_time

URL: Final = "https://connect.urbanairship.com"
ACCEPT: Final = "application/vnd.urbanairship+x-ndjson; version=3;"
_CHANNELS: Final = (
    "ios_channel",
    "android_channel",
    "amazon_channel",
    "web_channel",
    "open_channel",
    "channel",
)


def read_line(feed: str, line: bytes, received_at: int) -> Line | None:
    """One line of the stream; `None` for a blank one, which only keeps the connection alive."""
    if not line.strip():
        return None
    try:
        item = read_object(line)
    except FeedError as error:
        return Line("", (), error)
    offset = text_of(item.said.get("offset"))
    try:
        return Line(offset, list(_records(feed, item)), None)
    except FeedError as error:
        return Line(offset, (), error)


def request(settings: Mapping[str, Any], secret: str, offset: str) -> StreamRequest:
    """Asks for all that follows an offset, or for all that Airship still keeps where there is none yet; never
    for both. Raises `ValueError` for settings that cannot be used."""
    app_key, url = settings.get("app_key"), settings.get("url", URL)
    if unknown := sorted(set(settings) - {"app_key", "url", "filters"}):
        raise ValueError(f"settings.{unknown[0]}: a feed of this format has app_key, url and filters")
    if not isinstance(app_key, str) or not app_key:
        raise ValueError("settings.app_key: the app key of the Airship project is missing")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise ValueError(f"settings.url: {url!r} is no address; in the EU it is https://connect.asnapieu.com")
    wanted: dict[str, Any] = {"resume_offset": offset} if offset else {"start": "EARLIEST"}
    if "filters" in settings:
        wanted["filters"] = settings["filters"]
    headers = {
        "accept": ACCEPT,
        "authorization": f"Bearer {secret}",
        "content-type": "application/json",
        "x-ua-appkey": app_key,
    }
    return StreamRequest(url.rstrip("/") + "/api/events", headers, msgspec.json.encode(wanted))


def verify(payload: Payload, secret: str) -> None:
    """Airship calls nobody; what claims to come from it by a webhook does not."""
    raise UnverifiedError(Problem("", "not_a_webhook", "Airship's stream is pulled, not sent here"))


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of a piece of the stream, as of a file. Raises `FeedError`s."""
    lines = [line for line in payload.body.split(b"\n") if line.strip()]
    if not lines:
        raise InvalidError(Problem("", "empty_body", "lines of JSON are expected"))
    if len(lines) > ITEMS_LIMIT:
        raise TooLargeError(Problem("", "too_many_items", f"at most {ITEMS_LIMIT} lines are taken at once"))
    items = [read_object(line)._replace(pointer=f"/{index}") for index, line in enumerate(lines)]
    return gather(items, lambda item: _records(feed, item))


def _records(feed: str, item: Item) -> Iterator[Record]:
    said = item.said
    kind = require_text(said, "type", item.pointer)
    body, device = object_in(said, "body"), object_in(said, "device")
    opened = object_in(body, "triggering_push")
    yield Record(
        feed=feed,
        message_id=require_text(said, "id", item.pointer),
        type="track",
        name=_name(kind, body, opened, device),
        occurred_at=parse_time(said.get("occurred"), f"{item.pointer}/occurred"),
        identifiers=identifiers_of(_claims(feed, object_in(said, "user"), device)),
        body=msgspec.Raw(item.raw),
        properties_at="body.properties" if kind == "CUSTOM" else "body",
        properties=engagement(kind, body.get("push_id") or opened.get("push_id")),
    )


def _name(kind: str, body: dict[str, Any], opened: dict[str, Any], device: dict[str, Any]) -> str:
    """Segment's words for the app's own life; an opening that a push triggered is the push's."""
    platform = str(device.get("device_type", "")).upper()
    match kind:
        case "SEND":
            channel = "Email" if platform == "EMAIL" else "SMS" if platform in ("SMS", "MMS") else "Push"
            return f"{channel} Sent"
        case "SEND_REJECTED" if platform not in ("EMAIL", "SMS", "MMS"):
            return "Push Bounced"
        case "OPEN":
            return "Push Opened" if opened else "Application Opened"
        case "FIRST_OPEN":
            return "Application Installed"
        case "UNINSTALL":
            return "Application Uninstalled"
        case "CUSTOM":
            return text_of(body.get("name")) or "airship.CUSTOM"
        case _:
            return f"airship.{kind}"


def _claims(feed: str, user: dict[str, Any], device: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    yield "user_id", user.get("named_user_id")
    yield "user_id", device.get("named_user_id")
    for name in _CHANNELS:
        yield vendors(feed, "channel", device.get(name))


FEED: Final = FeedFormat(verify, parse, stream=Stream(request, read_line))
