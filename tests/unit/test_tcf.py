"""TCF 2 consent strings: read exactly where they parse, and refused where they do not."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.feed import InvalidError
from feeds.segment import parse_call
from feeds.tcf import PURPOSES, read_framework

#: The example of the IAB's own tools: purposes 2 and 10.
EXAMPLE = "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA"


def written(purposes: Collection[int], vendors: int = 0) -> str:
    """A core segment with these purposes, written from the specification's table."""
    #: Version, created, updated, tool, its version, screen, language (two letters), vendor list, policy, two flags, and
    #: special features: each with its width.
    fields = [
        (2, 6),
        (0, 36),
        (0, 36),
        (7, 12),
        (1, 12),
        (0, 6),
        (4, 6),
        (13, 6),
        (100, 12),
        (4, 6),
        (1, 1),
        (0, 1),
    ]
    bits = "".join(format(value, f"0{width}b") for value, width in [*fields, (0, 12)])
    assert len(bits) == 152
    bits += "".join("1" if purpose in purposes else "0" for purpose in range(1, 25))
    bits += "0" * 24 + "0" + format(0, "012b") + format(vendors, "016b") + "0" + "1" * vendors
    bits += format(0, "016b") + "0" + format(0, "012b")
    bits += "0" * (-len(bits) % 8)
    raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_the_iabs_example() -> None:
    found, terms = read_framework(EXAMPLE, "/x")
    assert (terms.jurisdiction, terms.document) == ("gdpr", "tcf policy 2, vendor list 15")
    assert {purpose for purpose, given_ in found.items() if given_} == {"tcf.2", "tcf.10"}
    assert len(found) == PURPOSES


@given(
    st.sets(st.integers(1, 24)), st.integers(0, 300), st.sampled_from(["", ".YAAAAAAAAAAA", ".IAGO5w.QAG"])
)
def test_each_purpose_is_read_as_it_was_written(purposes: set[int], vendors: int, more: str) -> None:
    found, terms = read_framework(written(purposes, vendors) + more, "/x")
    assert terms.document == "tcf policy 4, vendor list 100"
    assert found == {f"tcf.{n}": n in purposes for n in range(1, PURPOSES + 1)}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("", id="empty"),
        pytest.param(EXAMPLE[:30], id="cut"),
        pytest.param(EXAMPLE[1:], id="beheaded"),
        pytest.param("B" + EXAMPLE[1:], id="version 1"),
        pytest.param(EXAMPLE + "!", id="strange"),
        pytest.param(" " + EXAMPLE, id="padded"),
        pytest.param("é" * 50, id="not ascii"),
        pytest.param(None, id="null"),
        pytest.param(7, id="number"),
        pytest.param("C" * 20_000, id="very long"),
    ],
)
def test_what_is_none_is_refused_and_is_no_consent_to_anything(said: Any) -> None:
    with pytest.raises(InvalidError) as refused:
        read_framework(said, "/context/consent/tcString")
    assert refused.value.problems[0].pointer == "/context/consent/tcString"


@given(st.text(max_size=60) | st.from_regex(r"C[A-Za-z0-9_-]{38,90}", fullmatch=True))
def test_whatever_is_said_is_read_or_refused(said: str) -> None:
    with contextlib.suppress(InvalidError):
        assert len(read_framework(said, "/x").purposes) == PURPOSES


def test_a_call_brings_it_along_beside_its_own_purposes() -> None:
    consent = {"tcString": EXAMPLE, "categoryPreferences": {"push": True, "tcf.2": False}}
    call = {"type": "track", "event": "A", "userId": "u", "messageId": "m", "context": {"consent": consent}}
    [record] = parse_call("app", None, msgspec.json.encode({"batch": [call]}), 1)
    assert record.consent["push"] is True
    assert record.consent["tcf.10"] is True
    # What is said of a purpose by its name is more exact.
    assert record.consent["tcf.2"] is False
    assert record.consent_terms["tcf.10"].jurisdiction == "gdpr"
    assert record.consent_terms["tcf.2"].jurisdiction == ""
