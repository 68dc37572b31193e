"""What an audience is: the language that a marketer writes, as YAML or JSON.

The words and their exact meaning are in docs/reference/audiences.md. A definition says nothing of how it
is evaluated: the incremental evaluator reads these models, and a compiler to SQL can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from domain.audiences.comparisons import Comparison, Path, Where
from domain.audiences.durations import Duration
from domain.audiences.words import Part, refusal, suggestion, text

#: Greatest number that an event count may ask for; so many records a person and condition are kept.
MOST_COUNTED: Final = 100
#: Conditions may stand this deep in one another, and so many may stand in one audience.
DEEPEST: Final = 50
MOST_CONDITIONS: Final = 1_000

_is_audience_name: Final = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch


def _listed(value: Any) -> Any:
    if not isinstance(value, (list, tuple)) or not value:
        raise refusal("a list of at least one is expected here: begin each with a dash, or put them in [ ]")
    return value


def _counted(value: Any) -> Any:
    if type(value) is not int or not 0 <= value <= MOST_COUNTED:
        raise refusal(f"{value!r} cannot be counted to: write a whole number from 0 to {MOST_COUNTED}")
    return value


def _at_least_one(value: Any) -> Any:
    if value == 0:
        raise refusal("everybody has at least 0: write 1 or more, or at_most: 0 for never")
    return _counted(value)


def _audience_name(value: Any) -> Any:
    if not isinstance(value, str) or not _is_audience_name(value):
        raise refusal(
            f"{value!r} is no audience's name: a name is in small letters, digits and _, begins with a letter "
            "and has at most 63 characters, as in new_app_users"
        )
    return value


EventName = Annotated[str, BeforeValidator(text), Field(min_length=1, max_length=500)]
AudienceName = Annotated[str, BeforeValidator(_audience_name)]
Count = Annotated[int, BeforeValidator(_counted), Field(ge=0, le=MOST_COUNTED)]


class EventCount(Part):
    """How often an event happened: ever, or in the last `within`. By default at least once."""

    event: EventName
    within: Duration | None = None
    at_least: Annotated[int, BeforeValidator(_at_least_one), Field(ge=1, le=MOST_COUNTED)] | None = None
    at_most: Count | None = None
    exactly: Count | None = None
    where: Where = {}

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least and the greatest count that hold; `None` where there is no greatest."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        if self.at_most is not None:
            return self.at_least or 0, self.at_most
        return self.at_least or 1, None

    @model_validator(mode="after")
    def _one_question(self) -> EventCount:
        if self.exactly is not None and (self.at_least is not None or self.at_most is not None):
            raise refusal("'exactly' stands alone: leave it out, or leave out at_least and at_most")
        least, most = self.bounds
        if most is not None and least > most:
            raise refusal(f"no count is at least {least} and at most {most}: exchange the two")
        return self


class Answer(Part):
    """An event that answers a sequence's first one; with `same`, only where that property is equal."""

    event: EventName
    same: Path | None = None
    where: Where = {}


class Sequence(Part):
    """An event that none of the answers followed within a length of time."""

    event: EventName
    then_none: Annotated[tuple[Answer, ...], Field(min_length=1, max_length=8), BeforeValidator(_listed)]
    within: Duration
    where: Where = {}

    @model_validator(mode="before")
    @classmethod
    def _has_a_window(cls, value: Any) -> Any:
        if isinstance(value, dict) and "within" not in value:
            raise refusal("'then_none' needs the time in which to wait for an answer: add within: 24h")
        return value


class AttributeCondition(Comparison):
    """What must hold of one of the person's attributes."""

    attribute: Path


class ConsentCondition(Part):
    """What the person said about a purpose. Who never said anything has neither given nor refused."""

    consent: Annotated[str, BeforeValidator(text)]
    is_: Literal["given", "refused"] = Field("given", alias="is")


class InAudience(Part):
    """The person is a member of another audience."""

    in_audience: AudienceName


class AllOf(Part):
    all_: Annotated[tuple[Condition, ...], Field(min_length=1), BeforeValidator(_listed)] = Field(alias="all")


class AnyOf(Part):
    any_: Annotated[tuple[Condition, ...], Field(min_length=1), BeforeValidator(_listed)] = Field(alias="any")


class Not(Part):
    not_: Condition = Field(alias="not")


#: The word that a condition begins with → the model that reads it.
_KINDS: Final[dict[str, type[Part]]] = {
    "event": EventCount,
    "attribute": AttributeCondition,
    "consent": ConsentCondition,
    "in_audience": InAudience,
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
}


def _one_kind(value: Any) -> Any:
    if isinstance(value, Part):
        return value
    heads = ", ".join(_KINDS)
    if not isinstance(value, dict):
        raise refusal(
            f"{value!r} is not a condition: write one with one of {heads}, as in event: App Installed"
        )
    kinds = [word for word in _KINDS if word in value]
    if len(kinds) > 1:
        raise refusal(f"{' and '.join(kinds)} cannot stand in one condition: put each on its own under 'all'")
    if not kinds:
        close = "".join([suggestion(word, _KINDS) for word in value][:1])
        raise refusal(
            f"a condition has one of {heads}; {close}this one has {', '.join(map(str, value)) or 'no word'}"
        )
    return value


def _tag(value: Any) -> str | None:
    if isinstance(value, Part):
        return f"<{type(value).__name__}>"
    if "then_none" in value:
        return "<Sequence>"
    return next((f"<{kind.__name__}>" for word, kind in _KINDS.items() if word in value), None)


Condition = Annotated[
    Annotated[EventCount, Tag("<EventCount>")]
    | Annotated[Sequence, Tag("<Sequence>")]
    | Annotated[AttributeCondition, Tag("<AttributeCondition>")]
    | Annotated[ConsentCondition, Tag("<ConsentCondition>")]
    | Annotated[InAudience, Tag("<InAudience>")]
    | Annotated[AllOf, Tag("<AllOf>")]
    | Annotated[AnyOf, Tag("<AnyOf>")]
    | Annotated[Not, Tag("<Not>")],
    Discriminator(_tag),
    BeforeValidator(_one_kind),
]


def _bounded(value: Any) -> Any:
    # Walked before it is read: a YAML alias can make a definition endless in a few bytes.
    level, seen, depth = [value], 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > DEEPEST or seen > MOST_CONDITIONS:
            raise refusal(
                f"the definition is too large: at most {MOST_CONDITIONS} conditions, {DEEPEST} deep; "
                "give a part of it a name as an audience of its own and refer to it with in_audience"
            )
        level = [inner for condition in level for inner in _inner(condition)]
    return value


def _inner(condition: Any) -> list[Any]:
    if not isinstance(condition, dict):
        return []
    groups = [condition[word] for word in ("all", "any") if isinstance(condition.get(word), (list, tuple))]
    return [inner for group in groups for inner in group] + ([condition["not"]] if "not" in condition else [])


class Audience(Part):
    """Who belongs to it, and what it is for."""

    description: str = ""
    match: Annotated[Condition, BeforeValidator(_bounded)]


for _part in (AllOf, AnyOf, Not, Audience):
    _part.model_rebuild()


def conditions_of(condition: Condition) -> Iterator[Condition]:
    """A condition and every condition inside it, outer before inner."""
    yield condition
    match condition:
        case AllOf():
            inner = condition.all_
        case AnyOf():
            inner = condition.any_
        case Not():
            inner = (condition.not_,)
        case _:
            return
    for each in inner:
        yield from conditions_of(each)


def references_of(audience: Audience) -> frozenset[str]:
    """The audiences that this one refers to directly."""
    return frozenset(c.in_audience for c in conditions_of(audience.match) if isinstance(c, InAudience))


class InvalidAudiences(ValueError):
    """Audiences that are each well-formed, but refer to one another as they must not."""


def dependency_order(audiences: Mapping[str, Audience]) -> tuple[str, ...]:
    """The names, every audience after those it refers to. Raises `InvalidAudiences` where there is no order."""
    references = {name: references_of(audience) for name, audience in audiences.items()}
    for name, referred in references.items():
        for unknown in sorted(referred - audiences.keys()):
            raise InvalidAudiences(
                f"audience '{name}' refers to '{unknown}', which is not declared; "
                f"{suggestion(unknown, audiences)}declared are: {', '.join(sorted(audiences))}"
            )
    try:
        return tuple(TopologicalSorter({n: sorted(r) for n, r in references.items()}).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidAudiences(
            f"audiences refer to each other in a circle: {circle}; take one of these in_audience out"
        ) from None


def validate_audiences(audiences: Mapping[str, Audience]) -> None:
    """Raises `InvalidAudiences` on a reference to an audience that is not there, and on a circle of them."""
    dependency_order(audiences)


def path_of(location: tuple[int | str, ...]) -> str:
    """Where a pydantic error is, as the document has it: its `loc` without the kinds in angle brackets."""
    return ".".join(str(part) for part in location if not str(part).startswith("<"))
