"""mParticle's Events API v2, as its public server SDKs speak it: `/v2/events` and `/v2/bulkevents`.

Sources: docs.mparticle.com/developers/apis/http (authentication, status codes), .../apis/json-reference (batch,
identities, devices, consent, events), and the models of mParticle's public SDKs, which spell some ids otherwise
(`customerid`). A batch is about one person. Each of its events is a record; all else of it, with the attributes and
the consent, is one of type identify. An event without `source_message_id` is known by its batch and its place.

What is not taken: `deleted_user_attributes` delete nothing here, and stay in the record.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from domain.records import ConsentTerms, Identifier, Record
from feeds.feed import FeedFormat, InvalidError, Payload, Problem, UnverifiedError
from feeds.fields import digest_of, identifiers_of, object_in, text_of, vendors
from feeds.items import Item, gather, read_items, read_object
from feeds.mparticle_events import name_of, properties_at
from feeds.signatures import equal
from feeds.times import from_milliseconds

#: mParticle's identity → our kind. Others are ids of the vendor's: `<feed>.<identity>`.
_KINDS: Final = {
    "customer_id": "user_id",
    "customerid": "user_id",
    "email": "email",
    "mobile_number": "phone",
    "phone_number_2": "phone",
    "phone_number_3": "phone",
}
_DEVICE: Final = {
    "ios_idfv": "idfv",
    "android_uuid": "android_id",
    "ios_advertising_id": "idfa",
    "android_advertising_id": "gaid",
    "push_token": "push_token",
}
#: Batches of one bulk request.
BULK_LIMIT: Final = 100

_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def parse_events(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of one batch. Raises `FeedError`s."""
    return list(_batch(feed, read_object(payload.body), payload.received_at))


def parse_bulk(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of a list of batches. Raises `FeedError`s."""
    items = read_items(payload.body)
    if items and not items[0].pointer:
        raise InvalidError(Problem("", "not_a_list", "a list of batches is expected"))
    if len(items) > BULK_LIMIT:
        raise InvalidError(Problem("", "too_many_batches", f"at most {BULK_LIMIT} batches are taken at once"))
    return gather(items, lambda item: list(_batch(feed, item, payload.received_at)))


def parse_message(feed: str, payload: Payload) -> Sequence[Record]:
    """The records of a payload that no path tells the kind of. Raises `FeedError`s."""
    return (parse_bulk if payload.body.lstrip().startswith(b"[") else parse_events)(feed, payload)


def verify(payload: Payload, secret: str) -> None:
    """Raises `UnverifiedError` unless Basic auth carries the secret, which is `key:secret`."""
    given = credentials(payload.headers.get("authorization", ""))
    if given is None or not equal(secret, given):
        raise UnverifiedError(
            Problem("", "wrong_key", "Basic auth does not carry this feed's key and secret")
        )


def credentials(header: str) -> str | None:
    """What Basic auth carries, `key:secret`; `None` where there is none."""
    scheme, _, value = header.partition(" ")
    try:
        return base64.b64decode(value, validate=True).decode() if scheme.lower() == "basic" else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _batch(feed: str, item: Item, received_at: int) -> Iterator[Record]:
    said, at = item.said, item.pointer
    if said.get("environment") not in ("production", "development", "Production", "Development"):
        detail = "'environment' is production or development"
        raise InvalidError(Problem(f"{at}/environment", "no_environment", detail))
    identifiers = identifiers_of(_claims(feed, said))
    if not identifiers:
        detail = "a batch names its person by user_identities, device_info, mp_deviceid or mpid"
        raise InvalidError(Problem(f"{at}/user_identities", "no_identifier", detail))
    events = said.get("events")
    if events is not None and not isinstance(events, list):
        raise InvalidError(Problem(f"{at}/events", "not_a_list", "a list of events is expected here"))
    parts = _decode_parts(item.raw)
    raws = _decode_list(parts.pop("events")) if events else []
    id = text_of(said.get("source_request_id")) or digest_of(item.raw)
    when = said.get("timestamp_unixtime_ms")
    consent, terms = _consent(said, at)
    yield Record(
        feed=feed,
        message_id=id,
        type="identify",
        occurred_at=received_at if when is None else from_milliseconds(when, f"{at}/timestamp_unixtime_ms"),
        identifiers=identifiers,
        body=msgspec.Raw(msgspec.json.encode(parts)),
        traits_at="user_attributes" if isinstance(said.get("user_attributes"), dict) else "",
        consent=consent,
        consent_terms=terms,
    )
    for index, (event, raw) in enumerate(zip(events or (), raws, strict=True)):
        yield _event(
            feed, event, bytes(raw), f"{at}/events/{index}", f"{id}:{index}", identifiers, received_at
        )


def _event(
    feed: str, event: Any, raw: bytes, at: str, id: str, person: tuple[Identifier, ...], received_at: int
) -> Record:
    kind = event.get("event_type") if isinstance(event, dict) else None
    if not isinstance(kind, str) or not kind:
        raise InvalidError(
            Problem(f"{at}/event_type", "no_type", 'Required event field "event_type" is missing')
        )
    data = object_in(event, "data")
    name = text_of(name_of(kind, data))
    if not name:
        raise InvalidError(Problem(f"{at}/data", "no_name", f"an event of type {kind} has a name of text"))
    when = data.get("timestamp_unixtime_ms")
    return Record(
        feed=feed,
        message_id=text_of(data.get("source_message_id")) or id,
        type="screen" if kind == "screen_view" else "track",
        name=name,
        occurred_at=received_at
        if when is None
        else from_milliseconds(when, f"{at}/data/timestamp_unixtime_ms"),
        identifiers=person,
        body=msgspec.Raw(raw),
        properties_at=properties_at(kind, data),
    )


def _claims(feed: str, said: dict[str, Any]) -> Iterator[tuple[str | None, Any]]:
    theirs = object_in(said, "user_identities")
    yield from ((kind, theirs[name]) for name, kind in _KINDS.items() if name in theirs)
    for name, value in sorted(theirs.items()):
        if name not in _KINDS:
            yield vendors(feed, name, value)
    if said.get("mpid"):
        yield vendors(feed, "mpid", said["mpid"])
    yield "anonymous_id", said.get("mp_deviceid")
    device = object_in(said, "device_info")
    for name, kind in _DEVICE.items():
        if name in device and not (kind in ("idfa", "gaid") and device.get("limit_ad_tracking") is True):
            yield kind, device[name]


def _consent(said: dict[str, Any], at: str) -> tuple[dict[str, bool], dict[str, ConsentTerms]]:
    """GDPR's purposes under their own names; CCPA's opt-out of data sale is a refusal of `data_sale`. Each with the
    law, the document and the time that it was said under."""
    state = object_in(said, "consent_state")
    given: dict[str, bool] = {}
    terms: dict[str, ConsentTerms] = {}
    for purpose, one in object_in(state, "gdpr").items():
        consented = one.get("consented") if isinstance(one, dict) else None
        where = f"{at}/consent_state/gdpr"
        if not isinstance(consented, bool):
            raise InvalidError(Problem(where, "not_consent", "each purpose has 'consented': true or false"))
        given[purpose] = consented
        terms[purpose] = _terms("gdpr", one, where)
    sale = object_in(object_in(state, "ccpa"), "data_sale_opt_out")
    opted_out = sale.get("consented")
    if isinstance(opted_out, bool):
        given["data_sale"] = not opted_out
        terms["data_sale"] = _terms("ccpa", sale, f"{at}/consent_state/ccpa")
    return given, terms


def _terms(jurisdiction: str, said: dict[str, Any], at: str) -> ConsentTerms:
    when = said.get("timestamp_unixtime_ms")
    return ConsentTerms(
        jurisdiction=jurisdiction,
        document=text_of(said.get("document")),
        at=None if when is None else from_milliseconds(when, at),
    )


FEED: Final = FeedFormat(verify, parse_message)
