"""What JSON allows and a record cannot hold is refused, and pointed at; in a batch, that call alone."""

from __future__ import annotations

import json

import pytest

from feeds import segment
from feeds.feed import FeedError, PartlyInvalidError
from feeds.reading import read_json

REFUSED = {
    "U+0000 in text": (rb'{"a":{"b":["x\u0000"]}}', "/a/b/0", "nul_character"),
    "U+0000 in a name": (rb'{"a":{"b\u0000":1}}', "/a", "nul_character"),
    "a whole number beyond 64 bits": (b'{"a":{"b/c":[1,%d]}}' % 2**63, "/a/b~1c/1", "out_of_range"),
    "one below them": (b'{"a":%d}' % (-(2**63) - 1), "/a", "out_of_range"),
    "a number beyond a double": (b'{"a":1e400}', "", "out_of_range"),
    "half of a surrogate pair": (rb'{"a":"\ud800"}', "", "malformed_json"),
    "half of a surrogate pair in a name": (rb'{"\udc00":1}', "", "malformed_json"),
    "a raw zero byte": (b'{"a":"\x00"}', "", "malformed_json"),
}
HELD = [
    rb'{"a":"\\u0000 is how it is written"}',
    rb'{"a":"\ud83d\ude00"}',
    b'{"a":[%d,%d]}' % (2**63 - 1, -(2**63)),
    b'{"a":"12345678901234567890123"}',
    b'{"a":0.12345678901234567890123}',
]


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_record_can_hold_is_pointed_at(case: str) -> None:
    body, pointer, code = REFUSED[case]
    with pytest.raises(FeedError) as refused:
        read_json(body)
    [problem] = refused.value.problems
    assert (problem.pointer, problem.code) == (pointer, code)
    assert ("surrogate" in problem.detail) == ("surrogate" in case)


@pytest.mark.parametrize("body", HELD)
def test_what_only_looks_like_it_is_taken_as_it_is(body: bytes) -> None:
    assert read_json(body) == json.loads(body)


@pytest.mark.parametrize(("value", "code"), [(2**70, "out_of_range"), ("x\0", "nul_character")])
def test_of_a_batch_the_calls_beside_a_bad_value_are_taken_in(value: object, code: str) -> None:
    calls = [{"type": "track", "event": "Seen", "userId": f"u{n}", "properties": {"n": n}} for n in range(3)]
    calls[1]["properties"] = {"n": value}
    with pytest.raises(PartlyInvalidError) as partly:
        segment.parse_call("app", None, json.dumps({"batch": calls}).encode(), 1)
    assert [record.identifiers[0].value for record in partly.value.records] == ["u0", "u2"]
    [[problem]] = [one.problems for one in partly.value.refused]
    assert (problem.pointer, problem.code) == ("/batch/1/properties/n", code)
