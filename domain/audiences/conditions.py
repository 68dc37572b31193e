"""What each condition comes to, of one person at one log time: a definition becomes functions once."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any, Final, NamedTuple

from domain.audiences.definition import (
    AllOf,
    AnyOf,
    AttributeCondition,
    Audience,
    Condition,
    ConsentCondition,
    InAudience,
    InSplit,
    Not,
    TraitCondition,
)
from domain.audiences.events import EventCondition, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.leaves import CountLeaf, EventLeaf, FirstOrLastLeaf, SumLeaf
from domain.audiences.matching import matcher, value_at
from domain.audiences.occurrences import NOT_FOUND, REASONS, Finding
from domain.audiences.sequences import SequenceLeaf
from domain.audiences.splits import in_share
from domain.consent import Policies
from domain.traits.leaf import TraitLeaf

#: One person's state, by the id of the condition's meaning: equal conditions of several audiences share it.
Conditions = dict[str, Any]
#: The conditions about events, which are audiences' own.
OwnLeaf = EventLeaf | SequenceLeaf
Leaf = OwnLeaf | TraitLeaf


class Person(NamedTuple):
    """What an audience may ask about. `consent` is what the person has said."""

    conditions: Conditions
    attributes: Mapping[str, Any]
    consent: Mapping[str, bool]
    memberships: Container[str]
    id: str = ""


Evaluate = Callable[[Person, int], Finding]
_TRUE: Final = Finding(True, None, ())


class Compiler:
    """Makes functions of conditions, which may ask for these traits, under these policies."""

    def __init__(self, traits: Mapping[str, TraitLeaf], policies: Policies) -> None:
        self._traits = traits
        self._policies = policies

    def audience(self, audience: Audience) -> Evaluate:
        """Whether somebody belongs to an audience."""
        match = self.condition(audience.match)
        if not audience.exclude:
            return match
        return _all([match, *(_not(_in_audience(name)) for name in audience.exclude)])

    def condition(self, condition: Condition) -> Evaluate:
        """What a condition comes to, and when that may change."""
        match condition:
            case EventCount() | EventSum() | FirstOrLast() | Sequence():
                return _events(leaf_of(condition))
            case AttributeCondition():
                path, holds = condition.attribute, matcher(condition)
                return _fact(lambda person: holds(value_at(person.attributes, path)))
            case TraitCondition():
                return _trait(condition, self._traits[condition.trait])
            case ConsentCondition():
                purpose, wanted = condition.consent, condition.is_ == "given"
                return _fact(lambda person: self.consent(purpose, person) is wanted)
            case InAudience():
                return _in_audience(condition.in_audience)
            case InSplit():
                split, (low, high) = condition.split, condition.share
                return _fact(lambda person: in_share(split, person.id, low, high))
            case AllOf():
                return _all([self.condition(each) for each in condition.all_])
            case AnyOf():
                return _any([self.condition(each) for each in condition.any_])
            case Not():
                return _not(self.condition(condition.not_))

    def consent(self, purpose: str, person: Person) -> bool | None:
        """What the person has said to a purpose or, where that is nothing, what holds by default."""
        said = person.consent.get(purpose)
        return said if said is not None else self._policies.by_default(purpose, person.attributes)


def leaf_of(condition: EventCondition) -> OwnLeaf:
    """What remembers the events that a condition asks about."""
    match condition:
        case EventCount():
            return CountLeaf(condition)
        case EventSum():
            return SumLeaf(condition)
        case FirstOrLast():
            return FirstOrLastLeaf(condition)
        case Sequence():
            return SequenceLeaf(condition)


def _events(leaf: OwnLeaf) -> Evaluate:
    id, find = leaf.id, leaf.find
    return lambda person, now: find(person.conditions.get(id), now)


def _fact(holds: Callable[[Person], bool]) -> Evaluate:
    """What stays as it is until a record says otherwise."""
    return lambda person, now: _TRUE if holds(person) else NOT_FOUND


def _in_audience(audience: str) -> Evaluate:
    return _fact(lambda person: audience in person.memberships)


def _trait(condition: TraitCondition, leaf: TraitLeaf) -> Evaluate:
    holds = matcher(condition)
    operands = (each for operand in condition.operations.values() for each in _several(operand))
    days = [each for each in operands if isinstance(each, (int, float)) and not isinstance(each, bool)]

    def evaluate(person: Person, now: int) -> Finding:
        state = person.conditions.get(leaf.id)
        found = holds(leaf.value(state, now))
        return Finding(found, leaf.due(state, now, days), leaf.because(state, now) if found else ())

    return evaluate


def _several(operand: Any) -> list[Any]:
    return operand if isinstance(operand, list) else [operand]


def _soonest(findings: list[Finding]) -> int | None:
    return min((finding.due for finding in findings if finding.due is not None), default=None)


def _all(parts: list[Evaluate]) -> Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        findings = [part(person, now) for part in parts]
        if not all(finding.holds for finding in findings):
            return Finding(False, _soonest(findings), ())
        because = tuple([position for finding in findings for position in finding.because])
        return Finding(True, _soonest(findings), because[:REASONS])

    return evaluate


def _any(parts: list[Evaluate]) -> Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        findings = [part(person, now) for part in parts]
        reason = next((finding.because for finding in findings if finding.holds), None)
        return Finding(reason is not None, _soonest(findings), reason or ())

    return evaluate


def _not(part: Evaluate) -> Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        holds, due, _ = part(person, now)
        return Finding(not holds, due, ())

    return evaluate
