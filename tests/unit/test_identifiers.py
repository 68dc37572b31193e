"""Reading identifiers: the short way for plain e-mail addresses finds what the library finds."""

from __future__ import annotations

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from domain.identifiers import read_identifier, read_identifiers
from domain.records import Identifier

_WORD = st.text("abcXYZ019._-+'%@ é", max_size=12)


def by_the_library(value: str) -> Identifier | None:
    try:
        found = validate_email(value.strip(), check_deliverability=False)
    except EmailNotValidError:
        return None
    return Identifier("email", found.normalized.lower())


@given(
    st.builds(
        "{}@{}{}".format, _WORD, _WORD, st.sampled_from(["", ".com", ".Example.ORG", ".test", ".xn--p1ai"])
    )
)
def test_an_email_address_is_what_the_library_says(value: str) -> None:
    assert read_identifier("email", value) == by_the_library(value)


@pytest.mark.parametrize(
    "value",
    [
        "Ann.Lee+news@Example.COM",
        "a" * 64 + "@example.com",
        "a" * 65 + "@example.com",
        "a@" + ("b" * 60 + ".") * 3 + "com",
        "ann@" + ("b" * 60 + ".") * 4 + "com",
        "a" * 60 + "@" + ("b" * 60 + ".") * 3 + "example.com",
        ".ann@example.com",
        "ann..lee@example.com",
        "ann@localhost",
        "ann@a--b.com",
        "ann@ab--c.com",
        "ann@-a.com",
        "ann@127.0.0.1",
        "ann@exämple.com",
    ],
)
def test_addresses_at_the_edges(value: str) -> None:
    assert read_identifier("email", value) == by_the_library(value)


_VALUES = st.one_of(
    st.sampled_from(
        ["u-1", " u-2 ", "", " ", "a\x00b", "ü", "x" * 2_000, "+4915112345678", "0015", "a\ud800"]
    ),
    st.sampled_from(
        ["a@b.com", "A.B@Example.com", "a@b", ".a@b.com", "a..b@c.de", "a@b.com\na@b.com", "x-@b.de"]
    ),
    st.builds("{}@{}{}".format, _WORD, _WORD, st.sampled_from(["", ".com", ".xn--p1ai"])),
    st.uuids().map(str),
)


@given(st.sampled_from(["user_id", "crm.no", "email", "phone", "idfa", "android_id"]), st.lists(_VALUES))
@example("email", ["a" * 64 + "@example.com", "b@example.com"])
@example("email", ["Ann+news@Example.com", "b@example.com"])
def test_many_values_at_once_are_read_as_they_are_one_by_one(kind: str, values: list[str]) -> None:
    assert read_identifiers(kind, values) == [read_identifier(kind, value) for value in values]
