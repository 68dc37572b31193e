"""Identifiers as ad platforms match them, against the values that the vendors publish."""

from __future__ import annotations

import pytest

from adapters.connectors.hashing import device, email, email_of_google, phone, phone_digits, sha256


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        # developers.google.com/data-manager/api/devguides/concepts/formatting
        ("cloudy.sanfrancisco+shopping@gmail.com", "cloudysanfrancisco@gmail.com"),
        ("user.name+NYC@Example.com", "user.name+nyc@example.com"),
        # …/devguides/audiences/send-audience-members
        ("ALEXJ@example.com", "alexj@example.com"),
        (" AlexJ@cymbalgroup.com", "alexj@cymbalgroup.com"),
        ("baklavainthebalkans@gmail.com  ", "baklavainthebalkans@gmail.com"),
        ("cloudySanFrancisco@GMAIL.com", "cloudysanfrancisco@gmail.com"),
        ("a b@googlemail.com", "ab@googlemail.com"),
        ("+x@gmail.com", ""),
        ("nobody", ""),
        (None, ""),
    ],
)
def test_google_compares_addresses_so(given: object, normal: str) -> None:
    assert email_of_google(given) == normal


def test_others_keep_dots() -> None:
    assert email("  Ada.L+x@GMail.com ") == "ada.l+x@gmail.com"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("+1 (800) 555-0100", "+18005550100"),
        ("+18005550100", "+18005550100"),
        ("(800) 555-0100", ""),
        ("0043 664 123", ""),
        ("+0123456789", ""),
        (18005550100, ""),
    ],
)
def test_a_number_has_its_countrys_code(given: object, normal: str) -> None:
    assert phone(given) == normal
    assert phone_digits(given) == normal.removeprefix("+")


def test_device_ids_are_in_lower_case() -> None:
    assert device(" EA7583CD-A667-48BC-B806-42ECB2B48606 ") == "ea7583cd-a667-48bc-b806-42ecb2b48606"
    assert device("1234") == ""


def test_hashes_are_hex_and_nothing_has_none() -> None:
    # The hash of "test@example.com" as Google's and Meta's guides have it.
    assert sha256("test@example.com") == "973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b"
    assert sha256("") == ""
