"""Names on the bus: subject tokens and CloudEvents headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.bus.cloud_event import cloud_event
from adapters.bus.subject import token
from runtime.bus_contract import ROW_KINDS
from tests.servers import REPOSITORY


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("push", "push"),
        ("", "-"),
        ("-", "%2D"),
        ("Order Completed", "Order%20Completed"),
        ("a.b", "a%2Eb"),
        ("*", "%2A"),
        (">", "%3E"),
        ("50%", "50%25"),
        ("naïve", "na%C3%AFve"),
        ("a\r\nb", "a%0D%0Ab"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_what_nats_would_read_is_encoded(text: str, expected: str) -> None:
    assert token(text) == expected


@given(st.text(), st.text())
def test_different_texts_have_different_tokens(a: str, b: str) -> None:
    assert (token(a) == token(b)) == (a == b)


@given(st.text())
def test_a_token_is_one_token(text: str) -> None:
    name = token(text)
    assert name
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(".*> ")


def test_an_event_has_the_headers_of_its_binding() -> None:
    assert cloud_event(
        id="1",
        type="roundtrip.log.track",
        source="/roundtrip/log",
        subject='a "b"',
        time_us=1_500_000,
        msg_id="m",
    ) == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/roundtrip/log",
        "ce-type": "roundtrip.log.track",
        "ce-subject": "a%20%22b%22",
        "ce-time": "1970-01-01T00:00:01.500000Z",
        "content-type": "application/json",
        "Nats-Msg-Id": "m",
    }


def test_an_event_without_subject_and_time_leaves_them_out() -> None:
    headers = cloud_event(id="1", type="t", source="s", msg_id="m")
    assert "ce-subject" not in headers
    assert "ce-time" not in headers


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_breaks_out_of_its_header(text: str) -> None:
    headers = cloud_event(id=text, type=text, source=text, subject=text, msg_id=text)
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())


def test_the_reference_names_the_kinds_of_rows_that_there_are() -> None:
    said = (REPOSITORY / "docs" / "reference" / "nats-subjects.md").read_text()
    listed = said[said.index("Kinds are ") :].partition(". ")[0]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == set(ROW_KINDS)
