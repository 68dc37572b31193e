"""What goes along to a destination under a name: a value as it is known, a constant, or an expression over what is
known; hashed where the destination is not to see it.

Expressions are JMESPath (jmespath.org/specification.html), over `identifiers` (by kind, the value known first),
`attributes`, `traits` and `consents` (true or false).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from domain.consent import NO_POLICIES, Policies
from domain.profiles import Profile, consent_to
from domain.secret_ref import Model

_is_source: Final = re.compile(r"(identifier|attribute|trait|consent)\..+").fullmatch
_EXAMPLES: Final = {"identifiers": "email", "attributes": "city", "traits": "orders", "consents": "ads"}
_PARTS: Final = tuple(_EXAMPLES)
#: Asked for in place of a name: everything.
_ALL: Final = "@"
#: JMESPath is read and evaluated by recursion. Whatever nests has one of these signs, and so many end on any stack.
_SIGNS: Final = frozenset("([{!.|&<>=?:,@*")
_SIGNS_LIMIT: Final = 150
#: Kinds of nodes of which only the first child looks at what the node itself looks at.
_LOOK_INSIDE: Final = frozenset(
    {
        "subexpression",
        "pipe",
        "projection",
        "value_projection",
        "filter_projection",
        "index_expression",
        "flatten",
    }
)


def _source(said: Any) -> Any:
    if not isinstance(said, str) or not _is_source(said):
        raise ValueError(
            f"{said!r} is no source: write identifier.<kind>, attribute.<name>, trait.<name> or consent.<purpose>; a"
            " constant is written {constant: " + str(said) + "}"
        )
    return said


class MappedField(Model):
    """A value `from` a source, a `constant`, or what an `expression` comes to. `hash` sends the SHA-256 of it, in
    hexadecimal: of text without the space around it and in small letters, of other values as JSON."""

    from_: Annotated[str | None, BeforeValidator(_source), Field(alias="from")] = None
    constant: bool | int | float | str | None = None
    expression: Annotated[str, Field(max_length=2_000)] | None = None
    hash: Literal["sha256"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> MappedField:
        ways = [way for way in (self.from_, self.constant, self.expression) if way is not None]
        if len(ways) != 1:
            raise ValueError("a field has one of 'from', 'constant' and 'expression'")
        if self.expression is not None:
            check_expression(self.expression)
        return self


#: What may stand for a field: where its value comes from, or how it is made.
Declared = Annotated[
    Annotated[str, BeforeValidator(_source), Tag("<source>")] | Annotated[MappedField, Tag("<mapped>")],
    Discriminator(lambda said: "<mapped>" if isinstance(said, (dict, MappedField)) else "<source>"),
]


class Mapped(NamedTuple):
    """A field as routing needs it. `source` is `identifier`, `attribute`, `trait`, `consent`, `constant` or
    `expression`; `key` what is looked up by it. `policies` say what a consent is of which a person has said nothing."""

    source: str
    key: str
    hashed: bool = False
    policies: Policies = NO_POLICIES

    @property
    def purposes(self) -> frozenset[str]:
        """The purposes whose consents it goes by."""
        if self.source == "consent":
            return frozenset({self.key})
        return named_in(self.key, "consents") if self.source == "expression" else frozenset()

    @property
    def traits(self) -> frozenset[str]:
        """The computed traits that it goes by."""
        if self.source == "trait":
            return frozenset({self.key})
        return named_in(self.key, "traits") if self.source == "expression" else frozenset()


def mapped(said: str | MappedField, policies: Policies = NO_POLICIES) -> Mapped:
    """A declared field, made ready."""
    if isinstance(said, str):
        source, key = said.split(".", 1)
        return Mapped(source, key, policies=policies)
    hashed = said.hash is not None
    if said.from_ is not None:
        return mapped(said.from_, policies)._replace(hashed=hashed)
    if said.expression is not None:
        return Mapped("expression", said.expression, hashed, policies)
    return Mapped("constant", json.dumps(said.constant), hashed)


def value_of(field: Mapped, profile: Profile, traits: Mapping[str, Any]) -> Any:
    """What a field comes to; `None` where there is no value. Of several identifiers of a kind, the one that was known
    first is taken."""
    match field.source:
        case "identifier":
            known = profile.identifiers.get(field.key)
            value: Any = first_known(known) if known else None
        case "attribute":
            held = profile.attributes.get(field.key)
            value = held.value if held is not None else None
        case "trait":
            value = traits.get(field.key)
        case "consent":
            value = consent_to(profile, field.key, field.policies)
        case "constant":
            value = json.loads(field.key)
        case _:
            value = _found(field, profile, traits)
    return hashed(value) if field.hashed and value not in (None, "") else value


def first_known(values: Mapping[str, int]) -> str:
    return min(values, key=lambda value: (values[value], value))


def hashed(value: Any) -> str:
    """The SHA-256 of a value as `MappedField` says."""
    text = value.strip().lower() if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_expression(expression: str) -> None:
    """Raises `ValueError` where it is no expression, or does not name each thing that it asks for: what is not named is
    not declared, and stays."""
    signs = sum(sign in _SIGNS for sign in expression)
    if signs > _SIGNS_LIMIT:
        raise ValueError(
            f"an expression has at most {_SIGNS_LIMIT} signs such as ( [ . | &, this one has {signs}:"
            " make it of several fields, or by a transformation"
        )
    try:
        asked = set(_asked(jmespath.compile(expression).parsed))
    except JMESPathError as error:
        raise ValueError(f"'{expression}' is no JMESPath expression: {error}") from None
    if not asked:
        raise ValueError(
            f"'{expression}' asks for nothing of the person: begin with one of {', '.join(_PARTS)}"
        )
    for part, name in sorted(asked, key=str):
        if part == _ALL:
            raise ValueError(
                f"'{expression}' asks for all that is known: name each thing, as in attributes.city"
            )
        if part not in _PARTS:
            raise ValueError(f"'{expression}' asks for '{part}': begin with one of {', '.join(_PARTS)}")
        if name in (None, _ALL):
            raise ValueError(f"'{expression}' asks for all {part}: name each, as in {part}.{_EXAMPLES[part]}")


@lru_cache(maxsize=1_000)
def named_in(expression: str, part: str) -> frozenset[str]:
    """What an expression names of `traits`, or of another part of what is known."""
    asked = _asked(jmespath.compile(expression).parsed)
    return frozenset(name for one, name in asked if one == part and name is not None)


@lru_cache(maxsize=1_000)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _found(field: Mapped, profile: Profile, traits: Mapping[str, Any]) -> Any:
    document = {
        "identifiers": {kind: first_known(known) for kind, known in profile.identifiers.items() if known},
        "attributes": {name: held.value for name, held in profile.attributes.items()},
        "traits": dict(traits),
        "consents": {purpose: consent_to(profile, purpose, field.policies) for purpose in field.purposes},
    }
    try:
        return _compiled(field.key).search(document)
    except (JMESPathError, ArithmeticError, ValueError, TypeError):
        # Of values that are not as the expression has them, there is nothing to be sent.
        return None


def _asked(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Each part of the document that is asked for, with the name inside it where one is given. What follows a part
    looks inside it, and names nothing of the document any more."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"], None
    elif kind in ("current", "identity"):
        yield _ALL, None
    elif kind == "subexpression" and children[0]["type"] == "field":
        for name, _ in _asked(children[1]):
            yield children[0]["value"], name
    elif kind in _LOOK_INSIDE:
        yield from _asked(children[0])
    elif kind != "expref":
        for child in children:
            yield from _asked(child)
