"""Segment's HTTP tracking API, as its public clients speak it: bytes in, records out.

Sources: segment.com/docs/connections/sources/catalog/libraries/server/http-api and .../spec/common (limits,
fields, clock skew), .../privacy/consent-management (context.consent). What Segment does not say: a call
without `messageId` is known by the digest of its bytes, so a retry of the same bytes is the same record.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from domain.records import RECORD_TYPES, ConsentTerms, Identifier, Record, RecordType
from feeds.feed import (
    InvalidError,
    MalformedError,
    PartlyInvalidError,
    Payload,
    Problem,
    Refused,
    TooLargeError,
)
from feeds.fields import digest_of
from feeds.reading import check_depth, check_values, is_doubtful, read_json, read_parts
from feeds.segment_identifiers import more_identifiers
from feeds.tcf import read_framework
from feeds.times import parse_time, read_time, unreadable_time

ITEM_LIMIT: Final = 32 * 1024
BATCH_LIMIT: Final = 500 * 1024
ITEMS_LIMIT: Final = 2_500
_ID_LIMIT: Final = 512
_NAME_LIMIT: Final = 512
#: A clock further off than this is no skew but another time altogether, as of a replay.
_SKEW_LIMIT_US: Final = 24 * 3600 * 1_000_000

_PROPERTIES_AT: Final = {"track": "properties", "page": "properties", "screen": "properties"}


class _Batch(msgspec.Struct):
    """The calls' own bytes; what they say is read with the whole request."""

    batch: list[msgspec.Raw]


class _Key(msgspec.Struct):
    writeKey: str | None = None  # noqa: N815


_NO_CONSENT: Final[tuple[dict[str, bool], dict[str, ConsentTerms]]] = ({}, {})

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
    # Read whole, as what is taken in here must be readable ever after.
    if call is not None:
        return [_record(feed, call, read_json(body), body, "", None, received_at)]
    said, doubtful = read_parts(body), is_doubtful(body)
    calls = said.get("batch") if isinstance(said, dict) else None
    if not isinstance(calls, list):
        raise InvalidError(Problem("/batch", "not_a_batch", "'batch' is a list of calls"))
    if len(calls) > ITEMS_LIMIT:
        raise TooLargeError(Problem("/batch", "too_many_items", f"a batch has at most {ITEMS_LIMIT} calls"))
    sent_at = said.get("sentAt")
    records: list[Record] = []
    refused: list[Refused] = []
    too_large = False
    for index, (item, part) in enumerate(zip(calls, _decode_batch(body).batch, strict=True)):
        raw = bytes(part)
        try:
            if doubtful:
                check_values(item, f"/batch/{index}")
            records.append(_record(feed, None, item, raw, f"/batch/{index}", sent_at, received_at))
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
    said = read_parts(payload.body)
    if isinstance(said, dict) and "batch" in said:
        return parse_call(feed, None, payload.body, payload.received_at)
    if isinstance(said, dict) and isinstance(said.get("type"), str):
        return parse_call(feed, said["type"], payload.body, payload.received_at)
    calls = payload.body if isinstance(said, list) else b"[%b]" % payload.body
    return parse_call(feed, None, b'{"batch":%b}' % calls, payload.received_at)


def _record(
    feed: str, call: str | None, said: Any, body: bytes, pointer: str, batch_sent_at: Any, received_at: int
) -> Record:
    """One call. The hot path of every ingest: a pointer is only put together where something is wrong."""
    if len(body) > ITEM_LIMIT:
        detail = f"a call has at most {ITEM_LIMIT} bytes, this one {len(body)}"
        raise TooLargeError(Problem(pointer, "event_too_large", detail))
    if not isinstance(said, dict):
        raise InvalidError(Problem(pointer, "not_an_object", "a call is an object"))
    check_depth(body)
    get = said.get
    kind = call or get("type")
    if not isinstance(kind, str) or kind not in RECORD_TYPES:
        known = ", ".join(sorted(RECORD_TYPES))
        raise InvalidError(Problem(f"{pointer}/type", "unknown_type", f"'type' is one of {known}"))
    name = _text(said, "event" if kind == "track" else "name", pointer, _NAME_LIMIT)
    if kind == "track" and not name:
        raise InvalidError(Problem(f"{pointer}/event", "no_event", "a track call names its event in 'event'"))
    properties = _object(said, "properties", pointer)
    traits = _object(said, "traits", pointer)
    context = _object(said, "context", pointer)
    traits_at = ""
    if kind == "identify" and traits is not None:
        traits_at = "traits"
    elif context is not None and context.get("traits") is not None:
        traits_at = "context.traits"
    consent, terms = _NO_CONSENT
    if context is not None and context.get("consent") is not None:
        consent, terms = _consent(context, pointer)
    return Record(
        feed=feed,
        message_id=_text(said, "messageId", pointer, _ID_LIMIT) or digest_of(body),
        type=cast(RecordType, kind),
        occurred_at=_occurred_at(said, pointer, batch_sent_at, received_at),
        identifiers=_identifiers(feed, said, kind, traits, context, pointer),
        body=msgspec.Raw(body),
        name=name,
        properties_at=_PROPERTIES_AT.get(kind, "") if properties is not None else "",
        traits_at=traits_at,
        consent=consent,
        consent_terms=terms,
    )


def _identifiers(
    feed: str,
    said: dict[str, Any],
    kind: str,
    traits: dict[str, Any] | None,
    context: dict[str, Any] | None,
    pointer: str,
) -> tuple[Identifier, ...]:
    found = _named(_text(said, "userId", pointer, _ID_LIMIT), _text(said, "anonymousId", pointer, _ID_LIMIT))
    # Segment lets it be either; a user id is what an alias call joins that identify cannot.
    if kind == "alias" and (previous := _text(said, "previousId", pointer, _ID_LIMIT)):
        found += (Identifier("user_id", previous),)
    if not found:
        raise InvalidError(
            Problem(pointer, "no_identifier", "a call has a 'userId' or an 'anonymousId', or both")
        )
    if kind == "alias":
        # Of an alias call's two people it is not said whose further identifiers would be.
        return found
    return found + more_identifiers(feed, traits if kind == "identify" else None, context, found)


@lru_cache(maxsize=1_000)
def _named(user_id: str, anonymous_id: str) -> tuple[Identifier, ...]:
    """What a call names its person by; remembered, as what somebody does comes in runs."""
    named = (Identifier("user_id", user_id), Identifier("anonymous_id", anonymous_id))
    return tuple(identifier for identifier in named if identifier.value)


def _object(said: dict[str, Any], name: str, pointer: str) -> dict[str, Any] | None:
    value = said.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise InvalidError(Problem(f"{pointer}/{name}", "not_an_object", "an object is expected here"))


def _text(said: dict[str, Any], name: str, pointer: str, limit: int) -> str:
    """An id or name as text: numbers are taken, as the clients of some languages send them."""
    value = said.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and len(value) <= limit and "\x1f" not in value:
        return value
    where = f"{pointer}/{name}"
    if not isinstance(value, str):
        raise InvalidError(Problem(where, "not_text", "text is expected here"))
    if len(value) > limit:
        raise InvalidError(Problem(where, "too_long", f"at most {limit} characters are taken here"))
    raise InvalidError(Problem(where, "control_character", "U+001F is not taken here"))


def _occurred_at(said: dict[str, Any], pointer: str, batch_sent_at: Any, received_at: int) -> int:
    """When it happened: `timestamp`, corrected by how far the client's clock was off when it sent."""
    field = "timestamp"
    value = said.get(field)
    if value is None:
        field = "originalTimestamp"
        value = said.get(field)
    if value is None:
        return received_at
    occurred_at = read_time(value)
    if occurred_at is None:
        raise unreadable_time(f"{pointer}/{field}")
    sent = said.get("sentAt")
    where = f"{pointer}/sentAt" if sent is not None else "/sentAt"
    sent = batch_sent_at if sent is None else sent
    if sent is None:
        return occurred_at
    skew = received_at - parse_time(sent, where)
    return occurred_at + skew if abs(skew) <= _SKEW_LIMIT_US else occurred_at


def _consent(context: dict[str, Any], pointer: str) -> tuple[dict[str, bool], dict[str, ConsentTerms]]:
    """Each purpose that is spoken of, and what it is given or refused under. `jurisdiction` and `document` are not
    Segment's words, but ours."""
    consent = _object(context, "consent", f"{pointer}/context")
    if consent is None:
        return _NO_CONSENT
    where = f"{pointer}/context/consent"
    given: dict[str, bool] = {}
    terms: dict[str, ConsentTerms] = {}
    if consent.get("tcString") is not None:
        framework = read_framework(consent["tcString"], f"{where}/tcString")
        given |= framework.purposes
        terms |= dict.fromkeys(framework.purposes, framework.terms)
    preferences = consent.get("categoryPreferences")
    if preferences is None:
        return given, terms
    if not isinstance(preferences, dict) or not all(isinstance(v, bool) for v in preferences.values()):
        detail = "an object of purposes with true or false is expected"
        raise InvalidError(Problem(f"{where}/categoryPreferences", "not_consent", detail))
    jurisdiction = _text(consent, "jurisdiction", where, _NAME_LIMIT)
    document = _text(consent, "document", where, _NAME_LIMIT)
    if jurisdiction or document or terms:
        terms |= dict.fromkeys(preferences, ConsentTerms(jurisdiction=jurisdiction, document=document))
    return given | preferences if given else preferences, terms
