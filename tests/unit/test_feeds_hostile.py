"""Whatever bytes come in, a format gives records or says what is wrong: no other error, and bounded memory."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.records import Record, entry_of, record_of
from feeds import mparticle, segment
from feeds.feed import FeedError, PartlyInvalidError, Payload, TooLargeError, UnverifiedError, feed_format
from feeds.reading import check_values
from runtime.http.body import gunzip
from tests.unit.payloads import EXAMPLES, Example

#: There are many parsers: of each, a part of what is drawn elsewhere.
some = settings(max_examples=max(settings().max_examples // 4, 10))
NOW = 1_764_100_000_000_000
CALLS = {
    "segment track": ("track", {"event": "Seen", "userId": "u", "properties": {"a": [1]}, "context": {}}),
    "segment identify": (
        "identify",
        {
            "userId": "u",
            "traits": {"email": "a@b.de", "phone": "+4930901820"},
            "context": {"device": {"type": "ios", "id": "x"}, "externalIds": [{"type": "t", "id": "i"}]},
        },
    ),
    "segment batch": (
        None,
        {"batch": [{"type": "track", "event": "Seen", "userId": "u"}], "sentAt": "2025-11-24"},
    ),
}

Parse = Callable[[Example], Sequence[Record]]


def of_format(name: str) -> Parse:
    parse = feed_format(name).parse
    return lambda example: parse("feed", Payload(example.headers, example.body, NOW, example.url))


def of_call(kind: str | None) -> Parse:
    return lambda example: segment.parse_call("feed", kind, example.body, NOW)


PARSERS: dict[str, tuple[Parse, Example]] = {
    **{name: (of_format(name), example) for name, example in EXAMPLES.items()},
    **{name: (of_call(kind), Example(json.dumps(said).encode())) for name, (kind, said) in CALLS.items()},
    "mparticle bulk": (
        lambda example: mparticle.parse_bulk("feed", Payload({}, example.body, NOW)),
        Example(b"[" + EXAMPLES["mparticle"].body + b"]"),
    ),
}


def holds(parse: Parse, example: Example) -> None:
    """The promise: records that the log can keep and read again, or a `FeedError` that points and says."""
    try:
        records = parse(example)
    except PartlyInvalidError as error:
        records = error.records
        assert error.refused
    except FeedError as error:
        assert all(problem.code and problem.detail for problem in error.problems)
        return
    for record in records:
        entry = entry_of(record)
        assert record_of(entry.state) == record
        check_values(json.loads(entry.state), "")
        assert record.message_id
        assert "\x1f" not in record.message_id
        assert "\x00" not in entry.topic
        assert abs(record.occurred_at) < 2**63


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["\x00", "\x1f", "9" * 400, "2025-11-24T16:00:00Z", "99999-01-01T00:00:00Z", "a@b.de", "+49"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def places(said: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(said) if isinstance(said, dict) else range(len(said)) if isinstance(said, list) else []
    return [at, *(place for key in keys for place in places(said[key], (*at, key)))]


def with_value(said: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(said) if isinstance(said, dict) else list(said)
    copy[place[0]] = with_value(said[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize("name", PARSERS)
@some
@given(data=st.data())
def test_a_payload_with_anything_in_any_place(name: str, data: st.DataObject) -> None:
    parse, example = PARSERS[name]
    if name == "twilio":
        body = data.draw(st.binary(max_size=100) | st.just(example.body + b"&a=%00&b=%ff"))
    else:
        lines = [json.loads(line) for line in example.body.split(b"\n") if line]
        for _ in range(data.draw(st.integers(1, 3))):
            index = data.draw(st.integers(0, len(lines) - 1))
            place = data.draw(st.sampled_from(places(lines[index])))
            lines[index] = with_value(lines[index], place, data.draw(json_values))
        body = b"\n".join(json.dumps(line).encode() for line in lines)
    holds(parse, example._replace(body=body))


@pytest.mark.parametrize("name", PARSERS)
@some
@given(body=st.binary(max_size=200))
def test_any_bytes(name: str, body: bytes) -> None:
    parse, example = PARSERS[name]
    holds(parse, example._replace(body=body))


@pytest.mark.parametrize("name", EXAMPLES)
@some
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "authorization", "stripe-signature", "x-twilio-signature", "x-hubspot-signature-v3", "webhook-id",
                "x-hubspot-request-timestamp", "webhook-timestamp", "webhook-signature", "x-shopify-hmac-sha256",
                "x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp",
                "x-twilio-webhooks-signature-settings", "x-roundtrip-secret",
            ]
        ),
        st.text(st.characters(codec="latin-1"), max_size=40) | st.sampled_from(["t=1,v1=é", "Basic %", "1764100000"]),
    ),
    url=st.sampled_from(["", "http://[", "https://h:99999/x", "https://h/x?bodySHA256=é", "/"]),
    body=st.binary(max_size=40),
)  # fmt: skip
def test_any_signature_of_a_stranger_is_refused(
    name: str, headers: dict[str, str], url: str, body: bytes
) -> None:
    verify = feed_format(name).verify
    with pytest.raises(UnverifiedError):
        verify(Payload(headers, body, NOW, url), "c2VjcmV0LXRoYXQtbm9ib2R5LWtub3dz")


LARGE = 512 * 1024
HUGE: dict[str, bytes] = {
    "nested 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "lists nested 1,000,000 deep": b"[" * 1_000_000 + b"]" * 1_000_000,
    "an object of very many keys": json.dumps({f"k{n}": n for n in range(35_000)}).encode()[:LARGE],
    "a list of very many objects": (b"[" + b"{}," * 172_000)[: LARGE - 3] + b"{}]",
    "a list of very many lists": b"[" + b"[]," * 172_000 + b"[]]",
    "very many fields of a form": b"&".join(b"a%d=1" % n for n in range(60_000)),
    "a text that never ends": b'{"a":"' + b"x" * LARGE,
    "a number of 100,000 digits": b'{"a":' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("what", HUGE)
@pytest.mark.parametrize(
    "name", ["segment batch", "segment track", "sendgrid", "stripe", "twilio", "mparticle bulk"]
)
def test_a_large_hostile_body_takes_bounded_memory_and_time(name: str, what: str) -> None:
    parse, example = PARSERS[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        holds(parse, example._replace(body=HUGE[what]))
        took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * LARGE
    assert took < 20


@pytest.mark.parametrize("limit", [1_000, 500 * 1024])
def test_a_gzip_bomb_is_unzipped_to_the_limit_and_no_further(limit: int) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            gunzip(bomb, limit)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * limit + 1_000_000
