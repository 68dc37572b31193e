"""CloudEvents 1.0 over HTTP: structured, binary and batched, in JSON.

Sources: github.com/cloudevents/spec, cloudevents/bindings/http-protocol-binding.md, formats/json-format.md and
http-webhook.md (authorization: a Bearer token, or `access_token` in the address). `source` and `id` together are
the event's identity, `type` is the record's name, `data` holds its properties. The person is named in `data`, or in
an extension attribute: `userid`, `anonymousid`. `subject` is the source's own subject and no person's.

The record's body is the event in the JSON format, whatever way it came; `data` in it has the bytes that came.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from domain.records import Record
from feeds.feed import JSON, FeedFormat, InvalidError, MalformedError, Payload, Problem
from feeds.fields import identifiers_of, require_text
from feeds.items import Item, gather, read_items, read_object
from feeds.reading import check_depth, read_json
from feeds.signatures import check_bearer, equal, parts_of
from feeds.times import parse_time

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
#: Names by which `data` may name a person → our kinds of identifiers.
_PERSON: Final = {
    "user_id": "user_id",
    "userId": "user_id",
    "email": "email",
    "phone": "phone",
    "anonymous_id": "anonymous_id",
    "anonymousId": "anonymous_id",
}


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless the token is right."""
    token = parse_qs(parts_of(payload.url).query).get("access_token", [""])[0]
    if not equal(secret, token):
        check_bearer(payload, secret)


def parse(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one request. Raises `FeedError`s."""
    match _media_type(payload.headers.get("content-type", "")):
        case content if content == BATCH:
            items = read_items(payload.body)
            if items and not items[0].pointer:
                raise InvalidError(Problem("", "not_a_list", "a batch is a JSON list of events"))
            return gather(items, lambda item: [_record(feed, item, payload.received_at)])
        case content if content == STRUCTURED or "ce-id" not in payload.headers:
            return [_record(feed, read_object(payload.body), payload.received_at)]
        case _:
            return [_record(feed, _structured(payload), payload.received_at)]


def _media_type(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _structured(payload: Payload) -> Item:
    """An event that came in binary mode, in the JSON format."""
    said: dict[str, Any] = {
        name[3:]: unquote(value) for name, value in payload.headers.items() if name.startswith("ce-")
    }
    content = payload.headers.get("content-type", "")
    if content:
        said["datacontenttype"] = content
    media_type = _media_type(content)
    if not payload.body:
        raw = msgspec.json.encode(said)
    elif media_type in JSON or media_type.endswith("+json"):
        data = read_json(payload.body)
        check_depth(payload.body)
        raw = msgspec.json.encode(said | {"data": msgspec.Raw(payload.body)})
        said["data"] = data
    else:
        raw = msgspec.json.encode(said | {"data_base64": base64.b64encode(payload.body).decode()})
    return Item("", raw, said)


def _record(feed: str, item: Item, received_at: int) -> Record:
    said = item.said
    if said.get("specversion") != "1.0":
        detail = "CloudEvents of specversion 1.0 are taken here"
        raise InvalidError(Problem(f"{item.pointer}/specversion", "unknown_version", detail))
    source, id = require_text(said, "source", item.pointer), require_text(said, "id", item.pointer)
    time = said.get("time")
    if any("\0" in value for value in said.values() if isinstance(value, str)):
        raise MalformedError(Problem(item.pointer, "nul_character", "an attribute may not contain U+0000"))
    return Record(
        feed=feed,
        message_id=f"{source} {id}",
        type="track",
        name=require_text(said, "type", item.pointer),
        occurred_at=parse_time(time, f"{item.pointer}/time") if time is not None else received_at,
        identifiers=identifiers_of(_claims(said)),
        body=msgspec.Raw(item.raw),
        properties_at="data" if isinstance(said.get("data"), dict) else "",
    )


def _claims(said: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from (("user_id", said.get("userid")), ("anonymous_id", said.get("anonymousid")))
    data = said.get("data")
    if isinstance(data, dict):
        yield from ((kind, data.get(name)) for name, kind in _PERSON.items())


FEED: Final = FeedFormat(verify, parse, JSON | {STRUCTURED, BATCH, "application/xml", "text/xml", "text/csv"})
