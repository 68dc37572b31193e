"""Segment's HTTP tracking API, as its public clients speak it: bytes in, records out.

Sources: segment.com/docs/connections/sources/catalog/libraries/server/http-api and .../spec/common (limits,
fields, clock skew), .../privacy/consent-management (context.consent). What Segment does not say: a call
without `messageId` is known by the digest of its bytes, so a retry of the same bytes is the same record.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import msgspec

from domain.records import RECORD_TYPES, Identifier, Record, RecordType
from feeds.feed import (
    InvalidError,
    MalformedError,
    PartlyInvalidError,
    Payload,
    Problem,
    Refused,
    TooLargeError,
)
from feeds.reading import check_depth, malformed, read_json
from feeds.segment_identifiers import more_identifiers
from feeds.times import parse_time

ITEM_LIMIT: Final = 32 * 1024
BATCH_LIMIT: Final = 500 * 1024
ITEMS_LIMIT: Final = 2_500
_ID_LIMIT: Final = 512
_NAME_LIMIT: Final = 512
#: A clock further off than this is no skew but another time altogether, as of a replay.
_SKEW_LIMIT_US: Final = 24 * 3600 * 1_000_000

_PROPERTIES_AT: Final = {"track": "properties", "page": "properties", "screen": "properties"}


#: Not `Raw | None`, of which msgspec reads only the `None`.
_ABSENT: Final = msgspec.Raw(b"null")


class _Consent(msgspec.Struct):
    categoryPreferences: Any = None  # noqa: N815


class _Context(msgspec.Struct):
    traits: msgspec.Raw = _ABSENT
    consent: _Consent | None = None
    device: msgspec.Raw = _ABSENT
    externalIds: msgspec.Raw = _ABSENT  # noqa: N815


class _Call(msgspec.Struct):
    """The fields a record is made of, under Segment's names; all else stays in the body."""

    type: Any = None
    messageId: Any = None  # noqa: N815
    userId: Any = None  # noqa: N815
    anonymousId: Any = None  # noqa: N815
    previousId: Any = None  # noqa: N815
    event: Any = None
    name: Any = None
    timestamp: Any = None
    originalTimestamp: Any = None  # noqa: N815
    sentAt: Any = None  # noqa: N815
    context: _Context | None = None
    properties: dict[str, msgspec.Raw] | None = None
    traits: dict[str, msgspec.Raw] | None = None


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]
    sentAt: Any = None  # noqa: N815


class _Key(msgspec.Struct):
    writeKey: str | None = None  # noqa: N815


_decode_call = msgspec.json.Decoder(_Call).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_key = msgspec.json.Decoder(_Key).decode


def write_key_in(body: bytes) -> str | None:
    """The write key that browser clients put into the body; `None` where there is none to be read."""
    try:
        return _decode_key(body).writeKey
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_call(feed: str, call: str | None, body: bytes, received_at: int) -> list[Record]:
    """The records of one request: of a batch where `call` is `None`, else of one call of that type.

    Raises `MalformedError`, `InvalidError` or `TooLargeError`; then nothing of the request counts. Of a batch with
    some bad calls the others do, as at Segment: `PartlyInvalidError`.
    """
    if len(body) > BATCH_LIMIT:
        raise TooLargeError(Problem("", "batch_too_large", f"a request has at most {BATCH_LIMIT} bytes"))
    if not body.strip():
        raise MalformedError(Problem("", "empty_body", "the body is empty; a JSON object is expected"))
    # Read whole once, as what is taken in here must be readable ever after.
    read_json(body)
    if call is not None:
        return [_record(feed, call, body, "", None, received_at)]
    try:
        batch = _decode_batch(body)
    except msgspec.ValidationError as error:
        raise InvalidError(Problem("/batch", "not_a_batch", f"'batch' is a list of calls: {error}")) from None
    except msgspec.DecodeError as error:
        raise malformed(error) from None
    if len(batch.batch) > ITEMS_LIMIT:
        raise TooLargeError(Problem("/batch", "too_many_items", f"a batch has at most {ITEMS_LIMIT} calls"))
    records: list[Record] = []
    refused: list[Refused] = []
    too_large = False
    for index, item in enumerate(batch.batch):
        raw = bytes(item)
        try:
            records.append(_record(feed, None, raw, f"/batch/{index}", batch.sentAt, received_at))
        except (InvalidError, TooLargeError) as error:
            too_large = too_large or isinstance(error, TooLargeError)
            refused.append(Refused(raw, error.problems))
    if refused and records:
        raise PartlyInvalidError(records, refused)
    if refused:
        problems = [problem for one in refused for problem in one.problems]
        raise TooLargeError(*problems) if too_large else InvalidError(*problems)
    return records


def parse_message(feed: str, payload: Payload) -> list[Record]:
    """The records of a payload that no path tells the kind of: one call, a list of calls, or a batch.

    Raises as `parse_call` does.
    """
    if len(payload.body) > BATCH_LIMIT:
        raise TooLargeError(Problem("", "batch_too_large", f"a message has at most {BATCH_LIMIT} bytes"))
    said = read_json(payload.body)
    if isinstance(said, dict) and "batch" in said:
        return parse_call(feed, None, payload.body, payload.received_at)
    if isinstance(said, dict) and isinstance(said.get("type"), str):
        return parse_call(feed, said["type"], payload.body, payload.received_at)
    calls = payload.body if isinstance(said, list) else b"[%b]" % payload.body
    return parse_call(feed, None, b'{"batch":%b}' % calls, payload.received_at)


def _record(
    feed: str, call: str | None, body: bytes, pointer: str, batch_sent_at: Any, received_at: int
) -> Record:
    if len(body) > ITEM_LIMIT:
        raise TooLargeError(
            Problem(
                pointer, "event_too_large", f"a call has at most {ITEM_LIMIT} bytes, this one {len(body)}"
            )
        )
    check_depth(body)
    try:
        said = _decode_call(body)
    except msgspec.ValidationError as error:
        raise InvalidError(Problem(pointer, "wrong_type", str(error))) from None
    except msgspec.DecodeError as error:
        raise malformed(error) from None
    kind = call or said.type
    if not isinstance(kind, str) or kind not in RECORD_TYPES:
        known = ", ".join(sorted(RECORD_TYPES))
        raise InvalidError(Problem(f"{pointer}/type", "unknown_type", f"'type' is one of {known}"))
    name = _text(said.event if kind == "track" else said.name, f"{pointer}/{_name_of(kind)}", _NAME_LIMIT)
    if kind == "track" and not name:
        raise InvalidError(Problem(f"{pointer}/event", "no_event", "a track call names its event in 'event'"))
    context = said.context
    traits_at = ""
    if kind == "identify" and said.traits is not None:
        traits_at = "traits"
    elif context is not None and bytes(context.traits) != b"null":
        traits_at = "context.traits"
    message_id = _text(said.messageId, f"{pointer}/messageId", _ID_LIMIT)
    return Record(
        feed=feed,
        message_id=message_id or "sha256:" + hashlib.sha256(body).hexdigest(),
        type=cast(RecordType, kind),
        occurred_at=_occurred_at(said, pointer, batch_sent_at, received_at),
        identifiers=_identifiers(feed, said, kind, pointer),
        body=msgspec.Raw(body),
        name=name,
        properties_at=_PROPERTIES_AT.get(kind, "") if said.properties is not None else "",
        traits_at=traits_at,
        consent=_consent(context, pointer),
    )


def _name_of(kind: str) -> str:
    return "event" if kind == "track" else "name"


def _identifiers(feed: str, said: _Call, kind: str, pointer: str) -> tuple[Identifier, ...]:
    found = []
    user_id = _text(said.userId, f"{pointer}/userId", _ID_LIMIT)
    anonymous_id = _text(said.anonymousId, f"{pointer}/anonymousId", _ID_LIMIT)
    if user_id:
        found.append(Identifier("user_id", user_id))
    if anonymous_id:
        found.append(Identifier("anonymous_id", anonymous_id))
    if kind == "alias":
        previous = _text(said.previousId, f"{pointer}/previousId", _ID_LIMIT)
        if previous:
            # Segment lets it be either; a user id is what an alias call joins that identify cannot.
            found.append(Identifier("user_id", previous))
    if not found:
        raise InvalidError(
            Problem(pointer, "no_identifier", "a call has a 'userId' or an 'anonymousId', or both")
        )
    if kind != "alias":
        # Of an alias call's two people it is not said whose they would be.
        traits = said.traits if kind == "identify" else None
        found += more_identifiers(feed, traits, said.context, {identifier.kind for identifier in found})
    return tuple(found)


def _text(value: Any, pointer: str, limit: int) -> str:
    """An id or name as text: numbers are taken, as the clients of some languages send them."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidError(Problem(pointer, "not_text", "text is expected here"))
    if len(value) > limit:
        raise InvalidError(Problem(pointer, "too_long", f"at most {limit} characters are taken here"))
    if "\x1f" in value:
        raise InvalidError(Problem(pointer, "control_character", "U+001F is not taken here"))
    return value


def _occurred_at(said: _Call, pointer: str, batch_sent_at: Any, received_at: int) -> int:
    """When it happened: `timestamp`, corrected by how far the client's clock was off when it sent."""
    field = "timestamp" if said.timestamp is not None else "originalTimestamp"
    value = said.timestamp if said.timestamp is not None else said.originalTimestamp
    if value is None:
        return received_at
    occurred_at = parse_time(value, f"{pointer}/{field}")
    sent = said.sentAt if said.sentAt is not None else batch_sent_at
    if sent is None:
        return occurred_at
    skew = received_at - parse_time(sent, f"{pointer}/sentAt" if said.sentAt is not None else "/sentAt")
    return occurred_at + skew if abs(skew) <= _SKEW_LIMIT_US else occurred_at


def _consent(context: _Context | None, pointer: str) -> dict[str, bool]:
    if context is None or context.consent is None or context.consent.categoryPreferences is None:
        return {}
    preferences = context.consent.categoryPreferences
    where = f"{pointer}/context/consent/categoryPreferences"
    if not isinstance(preferences, dict) or not all(isinstance(v, bool) for v in preferences.values()):
        raise InvalidError(
            Problem(where, "not_consent", "an object of purposes with true or false is expected")
        )
    return preferences
