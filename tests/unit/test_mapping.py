"""How fields are made: constants, expressions, hashes; and what is not declared stays."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.consent import Consent
from domain.mapping import Declared, Mapped, mapped, named_in, value_of
from domain.profiles import Attribute, Profile
from domain.routing import Destination, fields_of
from tests.examples import examples

DECLARED: TypeAdapter[Any] = TypeAdapter(Declared)
ANN = Profile(
    id="p",
    created=1,
    latest=9,
    identifiers={"user_id": {"ann": 2, "anna": 1}, "email": {"ann@example.com": 3}},
    attributes={
        name: Attribute(value, 0, 0, 1)
        for name, value in {
            "first": "Ann",
            "last": "Lee",
            "secret": "s3cret",
            "address": {"city": "Bern"},
            "tags": ["a", "b"],
            "seats": 3,
        }.items()
    },
    consent={"ads": Consent(False, 0, 1)},
)
TRAITS = {"ltv": 99.5}


def made(said: Any) -> Any:
    return value_of(mapped(DECLARED.validate_python(said)), ANN, TRAITS)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("identifier.user_id", "anna"),
        ("attribute.seats", 3),
        ("trait.ltv", 99.5),
        ("consent.ads", False),
        ("consent.push", None),
        ({"constant": "web"}, "web"),
        ({"constant": False}, False),
        ({"from": "attribute.seats"}, 3),
        ({"from": "identifier.email", "hash": "sha256"}, sha256("ann@example.com")),
        ({"from": "attribute.first", "hash": "sha256"}, sha256("ann")),
        ({"from": "attribute.nothing", "hash": "sha256"}, None),
        ({"expression": "join(' ', [attributes.first, attributes.last])"}, "Ann Lee"),
        ({"expression": "attributes.address.city"}, "Bern"),
        ({"expression": "attributes.nick || attributes.first"}, "Ann"),
        ({"expression": "length(attributes.tags)"}, 2),
        ({"expression": "length(attributes.seats)"}, None),
        ({"expression": "{id: identifiers.user_id, ltv: traits.ltv}"}, {"id": "anna", "ltv": 99.5}),
        ({"expression": "attributes.{town: address.city, name: first}"}, {"town": "Bern", "name": "Ann"}),
        ({"expression": "attributes.tags[?@ != 'a'] | [0]"}, "b"),
        ({"expression": "attributes.address.traits"}, None),
        ({"expression": "!(consents.ads)"}, True),
        ({"expression": "consents.ads", "hash": "sha256"}, sha256("false")),
    ],
)
def test_a_field_is_made_as_it_is_declared(said: Any, value: Any) -> None:
    assert made(said) == value


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("email", "'email' is no source: write identifier.<kind>"),
        (7, "a constant is written {constant: 7}"),
        ({"from": "plan"}, "'plan' is no source"),
        ({"constant": "a", "from": "attribute.b"}, "one of 'from', 'constant' and 'expression'"),
        ({"hash": "sha256"}, "one of 'from', 'constant' and 'expression'"),
        ({"expression": "attributes.["}, "is no JMESPath expression"),
        ({"expression": "profile.first"}, "begin with one of identifiers, attributes, traits, consents"),
        ({"expression": "traits"}, "asks for all traits: name each"),
        ({"expression": "attributes"}, "asks for all attributes: name each, as in attributes.city"),
        ({"expression": "[attributes.first, values(attributes)]"}, "asks for all attributes"),
        ({"expression": "identifiers.*"}, "asks for all identifiers"),
        ({"expression": "[attributes.first, @]"}, "asks for all that is known"),
        ({"expression": "*.email"}, "asks for all that is known"),
        ({"expression": "'web'"}, "asks for nothing of the person"),
        ({"from": "attribute.a", "hash": "md5"}, "'sha256'"),
    ],
)
def test_a_mistaken_field_says_what_would_be_right(said: Any, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        DECLARED.validate_python(said)
    assert told in str(refused.value)


def test_an_expression_says_which_traits_it_goes_by() -> None:
    assert named_in("join('-', [traits.a, to_string(traits.\"b c\")]) || attributes.traits", "traits") == {
        "a",
        "b c",
    }
    assert named_in("traits.{x: ltv, y: orders} || attributes.old.traits.count", "traits") == {
        "ltv",
        "orders",
    }
    destination = Destination(
        "crm", "all", "", (("x", Mapped("expression", "traits.ltv")),), frozenset({"add"}), 1
    )
    assert destination.traits == ("ltv",)


@given(
    st.dictionaries(
        st.sampled_from(["one", "two", "three"]),
        st.sampled_from(
            [
                "identifier.user_id",
                "attribute.first",
                {"constant": 1},
                {"expression": "attributes.address"},
                {"from": "attribute.secret", "hash": "sha256"},
            ]
        ),
    )
)
@examples(100)
def test_what_is_not_declared_never_goes_along(fields: dict[str, Any]) -> None:
    declared = tuple((name, mapped(DECLARED.validate_python(said))) for name, said in fields.items())
    values, missing = fields_of(ANN, Destination("crm", "all", "", declared, frozenset({"add"}), 1), TRAITS)
    assert missing == ""
    assert values.keys() == fields.keys()
    assert not {"s3cret", "ann@example.com", "Lee"} & {str(value) for value in values.values()}
