"""What an audience is: the language that a marketer writes, as YAML or JSON.

The words and their exact meaning are in docs/reference/audiences.md. A definition says nothing of how it
is evaluated: the incremental evaluator reads these models, and a compiler to SQL can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from domain.audiences.comparisons import Comparison, Path
from domain.audiences.events import EventCount, EventSum, FirstOrLast, Sequence, listed
from domain.audiences.splits import Percent, Share
from domain.audiences.words import Part, refusal, suggestion, text
from domain.mendable import Mendable

#: Conditions may stand this deep in one another, and so many may stand in one audience.
DEEPEST: Final = 50
MOST_CONDITIONS: Final = 1_000

_is_audience_name: Final = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch


def _audience_name(value: Any) -> Any:
    if not isinstance(value, str) or not _is_audience_name(value):
        raise refusal(
            f"{value!r} is no name: a name is in small letters, digits and _, begins with a letter "
            "and has at most 63 characters, as in new_app_users"
        )
    return value


AudienceName = Annotated[str, BeforeValidator(_audience_name)]


class AttributeCondition(Comparison):
    """What must hold of one of the person's attributes."""

    attribute: Path


class TraitCondition(Comparison):
    """What must hold of a computed trait, which is declared under `traits`."""

    trait: AudienceName


class ConsentCondition(Part):
    """What the person said about a purpose. Who never said anything has neither given nor refused."""

    consent: Annotated[str, BeforeValidator(text)]
    is_: Literal["given", "refused"] = Field("given", alias="is")


class InAudience(Part):
    """The person is a member of another audience."""

    in_audience: AudienceName


class InSplit(Part):
    """The person is in a share of everybody that a split's name decides, always the same for the same name.

    `share` is in percent: 10 is the first tenth, [10, 55] all from there to 55 percent.
    """

    split: Annotated[str, BeforeValidator(text)]
    share: Share


class AllOf(Part):
    all_: Annotated[tuple[Condition, ...], Field(min_length=1), BeforeValidator(listed)] = Field(alias="all")


class AnyOf(Part):
    any_: Annotated[tuple[Condition, ...], Field(min_length=1), BeforeValidator(listed)] = Field(alias="any")


class Not(Part):
    not_: Condition = Field(alias="not")


#: The word that a condition begins with → the model that reads it.
_KINDS: Final[dict[str, type[Part]]] = {
    "event": EventCount,
    "attribute": AttributeCondition,
    "trait": TraitCondition,
    "consent": ConsentCondition,
    "in_audience": InAudience,
    "split": InSplit,
    "all": AllOf,
    "any": AnyOf,
    "not": Not,
}


#: The word beside `event` → the model that reads such a condition; with none of them it is a count.
_EVENT_KINDS: Final[dict[str, type[Part]]] = {
    "then": Sequence,
    "then_none": Sequence,
    "sum": EventSum,
    "first": FirstOrLast,
    "last": FirstOrLast,
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
    for word, kind in _EVENT_KINDS.items():
        if "event" in value and word in value:
            return f"<{kind.__name__}>"
    return next((f"<{kind.__name__}>" for word, kind in _KINDS.items() if word in value), None)


Condition = Annotated[
    Annotated[EventCount, Tag("<EventCount>")]
    | Annotated[EventSum, Tag("<EventSum>")]
    | Annotated[FirstOrLast, Tag("<FirstOrLast>")]
    | Annotated[Sequence, Tag("<Sequence>")]
    | Annotated[AttributeCondition, Tag("<AttributeCondition>")]
    | Annotated[TraitCondition, Tag("<TraitCondition>")]
    | Annotated[ConsentCondition, Tag("<ConsentCondition>")]
    | Annotated[InAudience, Tag("<InAudience>")]
    | Annotated[InSplit, Tag("<InSplit>")]
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
    """Who belongs to it, and what it is for.

    Members of an audience in `exclude` do not belong. Of the members, `holdout` percent are told to no
    destination, always the same ones, so that it can be measured what telling the others has brought.
    """

    description: str = ""
    match: Annotated[Condition, BeforeValidator(_bounded)]
    exclude: tuple[AudienceName, ...] = ()
    holdout: Percent = 0


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
    referred = {c.in_audience for c in conditions_of(audience.match) if isinstance(c, InAudience)}
    return frozenset(referred.union(audience.exclude))


class InvalidAudiences(Mendable, ValueError):
    """Audiences that are each well-formed, but refer to one another as `audience` must not."""

    def __init__(self, audience: str, problem: str) -> None:
        super().__init__(problem)
        self.audience = audience


def dependency_order(audiences: Mapping[str, Audience]) -> tuple[str, ...]:
    """The names, every audience after those it refers to. Raises `InvalidAudiences` where there is no order."""
    references = {name: references_of(audience) for name, audience in audiences.items()}
    for name, referred in references.items():
        for unknown in sorted(referred - audiences.keys()):
            raise InvalidAudiences(
                name,
                f"audience '{name}' refers to '{unknown}', which is not declared; "
                f"{suggestion(unknown, audiences)}declared are: {', '.join(sorted(audiences))}",
            )
    try:
        return tuple(TopologicalSorter({n: sorted(r) for n, r in references.items()}).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise InvalidAudiences(
            error.args[1][0],
            f"audiences refer to each other in a circle: {circle}; take one of these in_audience out",
        ) from None


def validate_audiences(audiences: Mapping[str, Audience], traits: Iterable[str] = ()) -> None:
    """Raises `InvalidAudiences` on a reference to an audience or a trait that is not there, and on a circle of
    audiences."""
    dependency_order(audiences)
    known = sorted(traits)
    for name, audience in audiences.items():
        for condition in conditions_of(audience.match):
            if isinstance(condition, TraitCondition) and condition.trait not in known:
                raise InvalidAudiences(
                    name,
                    f"audience '{name}' asks for trait '{condition.trait}', which is not declared; "
                    f"{suggestion(condition.trait, known)}declared are: {', '.join(known) or 'none'}",
                )


def path_of(location: tuple[int | str, ...]) -> str:
    """Where a pydantic error is, as the document has it: its `loc` without the kinds in angle brackets."""
    return ".".join(str(part) for part in location if not str(part).startswith("<"))
