"""The incremental evaluator: events are folded into bounded state per person, and an audience's verdict is
read off it at any log time."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple

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
    conditions_of,
    dependency_order,
    references_of,
    validate_audiences,
)
from domain.audiences.events import EventCondition, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.leaves import CountLeaf, EventLeaf, FirstOrLastLeaf, SumLeaf
from domain.audiences.matching import matcher, value_at
from domain.audiences.occurrences import REASONS, Event, Finding
from domain.audiences.sequences import SequenceLeaf
from domain.audiences.splits import in_share
from domain.consent import NO_POLICIES, Policies
from domain.traits.definition import Trait
from domain.traits.leaf import TraitLeaf

__all__ = ["CompiledAudiences", "Conditions", "Event", "Person", "Verdict", "compile_audiences"]

#: One person's state, by the id of the condition's meaning: equal conditions of several audiences share it.
Conditions = dict[str, Any]


class Person(NamedTuple):
    """What an audience may ask about. `consent` is what the person has said."""

    conditions: Conditions
    attributes: Mapping[str, Any]
    consent: Mapping[str, bool]
    memberships: Container[str]
    id: str = ""


class Verdict(NamedTuple):
    """Whether a person belongs, the earliest log time (µs) at which that, or a part of it, may change with
    no further event, and the log positions of some of the records that make it so."""

    member: bool
    due: int | None
    because: tuple[int, ...]


#: The conditions about events, which are audiences' own.
OwnLeaf = EventLeaf | SequenceLeaf
Leaf = OwnLeaf | TraitLeaf
_Evaluate = Callable[[Person, int], Finding]
_TRUE = Finding(True, None, ())
_FALSE = Finding(False, None, ())


class CompiledAudiences:
    """Audiences, and the computed traits that they may ask about, ready for use; never changed. `names` are in
    dependency order: whoever refers to another comes after it."""

    def __init__(
        self,
        audiences: Mapping[str, Audience],
        traits: Mapping[str, Trait] = {},
        policies: Policies = NO_POLICIES,
    ) -> None:
        self.policies = policies
        self.names: tuple[str, ...] = dependency_order(audiences)
        self._rank = {name: rank for rank, name in enumerate(self.names)}
        self.traits: Mapping[str, TraitLeaf] = {name: TraitLeaf(traits[name]) for name in sorted(traits)}
        self._leaves: dict[str, Leaf] = {leaf.id: leaf for leaf in self.traits.values()}
        self._evaluate: dict[str, _Evaluate] = {}
        self._dependants = _dependants(audiences, self.names)
        self._split: set[str] = set()
        by_leaf: dict[str, set[str]] = {id: set() for id in self._leaves}
        by_attribute: dict[str, set[str]] = {}
        by_consent: dict[str, set[str]] = {}
        for name in self.names:
            for condition in conditions_of(audiences[name].match):
                match condition:
                    case EventCount() | EventSum() | FirstOrLast() | Sequence():
                        by_leaf.setdefault(self._leaf(condition).id, set()).add(name)
                    case AttributeCondition():
                        for part in {condition.attribute, condition.attribute.split(".")[0]}:
                            by_attribute.setdefault(part, set()).add(name)
                    case TraitCondition():
                        by_leaf[self.traits[condition.trait].id].add(name)
                    case ConsentCondition():
                        by_consent.setdefault(condition.consent, set()).add(name)
                        for part in policies.attributes(condition.consent):
                            by_attribute.setdefault(part, set()).add(name)
                    case InSplit():
                        self._split.add(name)
            self._evaluate[name] = self._compile_audience(audiences[name])
        #: The audiences that ask for consent by themselves.
        self.asking_consent = frozenset().union(*by_consent.values())
        self._by_attribute = {key: self._with_dependants(names) for key, names in by_attribute.items()}
        self._by_consent = {key: self._with_dependants(names) for key, names in by_consent.items()}
        self._by_event: dict[str, list[tuple[Leaf, tuple[str, ...]]]] = {}
        for leaf in self._leaves.values():
            touched = self._with_dependants(by_leaf[leaf.id])
            for event in leaf.names:
                self._by_event.setdefault(event, []).append((leaf, touched))
        self._asked_by = by_leaf
        self.open_to_strangers = self._open_to_strangers()

    def listens_to(self, event: str) -> bool:
        """Whether any audience or trait asks about events of this name."""
        return event in self._by_event

    def fold(self, conditions: Conditions, event: Event) -> tuple[str, ...]:
        """Folds an event into the state, in place; the audiences whose verdict may have changed by it, in
        dependency order."""
        listening = self._by_event.get(event.name)
        if listening is None:
            return ()
        touched: tuple[str, ...] = ()
        for leaf, names in listening:
            state = conditions.get(leaf.id)
            if state is None:
                state = leaf.empty()
                if leaf.fold(state, event):
                    conditions[leaf.id] = state
                    touched = (*touched, *names)
            elif leaf.fold(state, event):
                touched = (*touched, *names)
        return self.in_order(touched) if touched and len(listening) > 1 else touched

    @property
    def leaves(self) -> Mapping[str, Leaf]:
        """The conditions that remember something, by the id that their state has."""
        return self._leaves

    def events_of(self, audiences: Iterable[str], traits: Iterable[str] = ()) -> set[str]:
        """The events that any of these audiences or traits asks about by itself."""
        wanted = set(audiences)
        ids = {id for id, askers in self._asked_by.items() if wanted & askers}
        ids |= {self.traits[name].id for name in traits if name in self.traits}
        return {event for id in ids for event in self._leaves[id].names}

    def asked_by(self, audiences: Iterable[str]) -> list[Leaf]:
        """The conditions of these audiences that remember something."""
        wanted = set(audiences)
        return [self._leaves[id] for id, askers in self._asked_by.items() if wanted & askers]

    def asking_for(self, traits: Iterable[str]) -> set[str]:
        """The audiences that ask for any of these traits by themselves."""
        ids = {self.traits[name].id for name in traits if name in self.traits}
        return set().union(*(self._asked_by[id] for id in ids))

    def values(self, names: Iterable[str], conditions: Conditions, now: int) -> dict[str, Any]:
        """What these traits come to at a log time; those without a value are not there."""
        leaves = {name: self.traits[name] for name in names if name in self.traits}
        found = {name: leaf.value(conditions.get(leaf.id), now) for name, leaf in leaves.items()}
        return {name: value for name, value in found.items() if value is not None}

    def remembering(self, leaves: Mapping[str, Leaf]) -> CompiledAudiences:
        """The same audiences, that fold these conditions too and keep their state, though none asks for it yet."""
        more = CompiledAudiences({})
        more.__dict__.update(self.__dict__)
        fresh = {id: leaf for id, leaf in leaves.items() if id not in self._leaves}
        more._leaves = {**self._leaves, **fresh}
        more._by_event = {event: list(listening) for event, listening in self._by_event.items()}
        for leaf in fresh.values():
            for event in leaf.names:
                more._by_event.setdefault(event, []).append((leaf, ()))
        return more

    def merge(self, a: Conditions, b: Conditions) -> Conditions:
        """The state of somebody who did what both did. State of conditions no longer asked is dropped."""
        merged: Conditions = {}
        for id, leaf in self._leaves.items():
            of_a, of_b = a.get(id), b.get(id)
            if of_a is not None and of_b is not None:
                merged[id] = leaf.merge(of_a, of_b)
            elif of_a is not None or of_b is not None:
                merged[id] = of_a if of_a is not None else of_b
        return merged

    def evaluate(self, audience: str, person: Person, now: int) -> Verdict:
        """Whether the person belongs at this log time. The person's memberships of audiences that this one
        refers to must be up to date."""
        return Verdict(*self._evaluate[audience](person, now))

    def consent(self, purpose: str, person: Person) -> bool | None:
        """What the person has said to a purpose or, where that is nothing, what holds by default."""
        said = person.consent.get(purpose)
        return said if said is not None else self.policies.by_default(purpose, person.attributes)

    def find(self, condition: Condition, person: Person, now: int) -> Finding:
        """What one condition of a definition comes to, by itself."""
        return self._compile(condition)(person, now)

    def memory_of(self, condition: EventCondition, person: Person) -> Any:
        """What is remembered of a person for a condition about events; `None` where that is nothing."""
        return person.conditions.get(_leaf_of(condition).id)

    def touched_by_attributes(self, names: Iterable[str]) -> tuple[str, ...]:
        """The audiences whose verdict may change when these attributes do."""
        return self.in_order(a for name in names for a in self._by_attribute.get(name, ()))

    def touched_by_consent(self, purposes: Iterable[str]) -> tuple[str, ...]:
        """The audiences whose verdict may change when consent to these purposes does."""
        return self.in_order(a for purpose in purposes for a in self._by_consent.get(purpose, ()))

    def dependants(self, names: Iterable[str]) -> tuple[str, ...]:
        """The audiences that refer to any of these, directly or not."""
        return self.in_order(a for name in names for a in self._dependants.get(name, ()))

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """These audiences in dependency order, each once."""
        return tuple(sorted(set(names) & self._rank.keys(), key=self._rank.__getitem__))

    def _with_dependants(self, names: Iterable[str]) -> tuple[str, ...]:
        known = set(names)
        return self.in_order(known.union(*(self._dependants[name] for name in known)))

    def _leaf(self, condition: EventCondition) -> EventLeaf | SequenceLeaf:
        leaf = _leaf_of(condition)
        self._leaves.setdefault(leaf.id, leaf)
        return leaf

    def _open_to_strangers(self) -> tuple[str, ...]:
        """The audiences that somebody may belong to of whom nothing is known but the id."""
        nobody: set[str] = set()
        stranger = Person({}, {}, {}, nobody)
        for name in self.names:
            if self.evaluate(name, stranger, 0).member:
                nobody.add(name)
        return self._with_dependants(nobody | self._split)

    def _compile_audience(self, audience: Audience) -> _Evaluate:
        match = self._compile(audience.match)
        if not audience.exclude:
            return match
        return _all([match, *(_not(_in_audience(name)) for name in audience.exclude)])

    def _compile(self, condition: Condition) -> _Evaluate:
        match condition:
            case EventCount() | EventSum() | FirstOrLast() | Sequence():
                leaf = self._leaf(condition)
                return lambda person, now: leaf.find(person.conditions.get(leaf.id), now)
            case AttributeCondition():
                path, holds = condition.attribute, matcher(condition)
                return lambda person, now: _TRUE if holds(value_at(person.attributes, path)) else _FALSE
            case TraitCondition():
                return _trait(condition, self.traits[condition.trait])
            case ConsentCondition():
                purpose, wanted = condition.consent, condition.is_ == "given"
                return lambda person, now: _TRUE if self.consent(purpose, person) is wanted else _FALSE
            case InAudience():
                return _in_audience(condition.in_audience)
            case InSplit():
                split, (low, high) = condition.split, condition.share
                return lambda person, now: _TRUE if in_share(split, person.id, low, high) else _FALSE
            case AllOf():
                return _all([self._compile(each) for each in condition.all_])
            case AnyOf():
                return _any([self._compile(each) for each in condition.any_])
            case Not():
                return _not(self._compile(condition.not_))


def compile_audiences(
    audiences: Mapping[str, Audience], traits: Mapping[str, Trait] = {}, policies: Policies = NO_POLICIES
) -> CompiledAudiences:
    """Makes audiences ready for use. Raises `InvalidAudiences` where they refer to what is not there, or to one another
    in a circle."""
    validate_audiences(audiences, traits)
    return CompiledAudiences(audiences, traits, policies)


def _dependants(audiences: Mapping[str, Audience], names: tuple[str, ...]) -> dict[str, set[str]]:
    dependants: dict[str, set[str]] = {name: set() for name in names}
    for name in reversed(names):
        for referred in references_of(audiences[name]):
            dependants[referred] |= {name} | dependants[name]
    return dependants


def _trait(condition: TraitCondition, leaf: TraitLeaf) -> _Evaluate:
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


def _leaf_of(condition: EventCondition) -> EventLeaf | SequenceLeaf:
    match condition:
        case EventCount():
            return CountLeaf(condition)
        case EventSum():
            return SumLeaf(condition)
        case FirstOrLast():
            return FirstOrLastLeaf(condition)
        case Sequence():
            return SequenceLeaf(condition)


def _in_audience(audience: str) -> _Evaluate:
    return lambda person, now: _TRUE if audience in person.memberships else _FALSE


def _soonest(findings: list[Finding]) -> int | None:
    return min((finding.due for finding in findings if finding.due is not None), default=None)


def _all(parts: list[_Evaluate]) -> _Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        findings = [part(person, now) for part in parts]
        if not all(finding.holds for finding in findings):
            return Finding(False, _soonest(findings), ())
        because = tuple(position for finding in findings for position in finding.because)
        return Finding(True, _soonest(findings), because[:REASONS])

    return evaluate


def _any(parts: list[_Evaluate]) -> _Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        findings = [part(person, now) for part in parts]
        reason = next((finding.because for finding in findings if finding.holds), None)
        return Finding(reason is not None, _soonest(findings), reason or ())

    return evaluate


def _not(part: _Evaluate) -> _Evaluate:
    def evaluate(person: Person, now: int) -> Finding:
        holds, due, _ = part(person, now)
        return Finding(not holds, due, ())

    return evaluate
