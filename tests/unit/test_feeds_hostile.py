"""Whatever bytes come in, a format gives records or says what is wrong: no other error, and bounded memory."""

from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.records import Record, entry_of, record_of
from feeds import mparticle, segment
from feeds.feed import FeedError, PartlyInvalidError, Payload, TooLargeError, UnverifiedError, feed_format
from feeds.reading import check_values
from runtime.http.body import gunzip
from tests.unit.mutations import documents, mutated
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
    "segment page": ("page", {"name": "Home", "category": "Docs", "userId": "u", "properties": {"url": "/"}}),
    "segment screen": ("screen", {"name": "Home", "anonymousId": "a", "context": {"traits": {"a": 1}}}),
    "segment group": ("group", {"groupId": "g", "userId": "u", "traits": {"size": 3}}),
    "segment alias": ("alias", {"previousId": "a", "userId": "u", "timestamp": "2025-11-24T16:00:00Z"}),
    "segment batch": (
        None,
        {"batch": [{"type": "track", "event": "Seen", "userId": "u"}], "sentAt": "2025-11-24"},
    ),
}

CLOUD_EVENT_BINARY = Example(
    b'{"user_id": "u-1", "total": 12.5}',
    {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "e-1",
        "ce-source": "/till",
        "ce-type": "com.example.receipt",
        "ce-time": "2025-11-24T16:00:00Z",
        "ce-userid": "u-1",
    },
)
CLOUD_EVENT_BATCH = Example(
    b"[" + EXAMPLES["cloudevents"].body + b"]", {"content-type": "application/cloudevents-batch+json"}
)

Parse = Callable[[Example], Sequence[Record]]


def of_format(name: str) -> Parse:
    parse = feed_format(name).parse
    return lambda example: parse("feed", Payload(example.headers, example.body, NOW, example.url))


def of_call(kind: str | None) -> Parse:
    return lambda example: segment.parse_call("feed", kind, example.body, NOW)


PARSERS: dict[str, tuple[Parse, Example]] = {
    **{name: (of_format(name), example) for name, example in EXAMPLES.items()},
    **{name: (of_call(kind), Example(json.dumps(said).encode())) for name, (kind, said) in CALLS.items()},
    "cloudevents binary": (of_format("cloudevents"), CLOUD_EVENT_BINARY),
    "cloudevents batch": (of_format("cloudevents"), CLOUD_EVENT_BATCH),
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


@pytest.mark.parametrize("name", PARSERS)
@some
@given(data=st.data())
def test_a_payload_with_anything_in_any_place(name: str, data: st.DataObject) -> None:
    parse, example = PARSERS[name]
    if name == "twilio":
        form = dict(parse_qsl(example.body.decode()))
        said = data.draw(documents(form, st.text(max_size=20) | st.sampled_from(["", "\0", "+49", "\ud800"])))
        pairs = said.items() if isinstance(said, dict) else [(said, said)]
        body = urlencode(list(pairs), errors="replace").encode()
    else:
        lines = [json.loads(line) for line in example.body.split(b"\n") if line]
        index = data.draw(st.integers(0, len(lines) - 1))
        lines[index] = data.draw(documents(lines[index]))
        body = b"\n".join(json.dumps(line).encode() for line in lines)
    holds(parse, example._replace(body=body))


@pytest.mark.parametrize("name", PARSERS)
@some
@given(data=st.data())
def test_a_payload_with_any_bytes_in_it(name: str, data: st.DataObject) -> None:
    parse, example = PARSERS[name]
    holds(parse, example._replace(body=data.draw(mutated(example.body))))


@pytest.mark.parametrize("name", ["cloudevents binary", "shopify", "standard_webhooks", "twilio"])
@some
@given(data=st.data())
def test_a_payload_with_any_headers_and_address(name: str, data: st.DataObject) -> None:
    parse, example = PARSERS[name]
    text = st.text(st.characters(codec="latin-1"), max_size=20) | st.sampled_from(["%00", "%ff", "%ED%A0%80"])
    headers = {key: data.draw(text | st.just(value)) for key, value in example.headers.items()}
    url = example.url + data.draw(text)
    holds(parse, example._replace(headers=headers, url=url))


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
