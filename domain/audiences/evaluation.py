"""The incremental evaluator: events are folded into bounded state per person, and an audience's verdict is
read off it at any log time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from domain.audiences.conditions import Compiler, Conditions, Evaluate, Leaf, OwnLeaf, Person, leaf_of
from domain.audiences.definition import (
    AttributeCondition,
    Audience,
    Condition,
    ConsentCondition,
    InSplit,
    TraitCondition,
    conditions_of,
    dependency_order,
    references_of,
    validate_audiences,
)
from domain.audiences.events import EventCondition, EventCount, EventSum, FirstOrLast, Sequence
from domain.audiences.occurrences import Event, Finding, remember
from domain.consent import NO_POLICIES, Policies
from domain.traits.definition import Trait
from domain.traits.leaf import TraitLeaf

__all__ = ["CompiledAudiences", "Conditions", "Event", "Leaf", "OwnLeaf", "Person", "compile_audiences"]


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
        self._compiler = Compiler(self.traits, policies)
        self._evaluate: dict[str, Evaluate] = {}
        self._dependants = _dependants(audiences, self.names)
        self._split: set[str] = set()
        by_leaf: dict[str, set[str]] = {id: set() for id in self._leaves}
        by_attribute: dict[str, set[str]] = {}
        by_consent: dict[str, set[str]] = {}
        for name in self.names:
            for condition in conditions_of(audiences[name].match):
                match condition:
                    case EventCount() | EventSum() | FirstOrLast() | Sequence():
                        leaf = leaf_of(condition)
                        self._leaves.setdefault(leaf.id, leaf)
                        by_leaf.setdefault(leaf.id, set()).add(name)
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
            self._evaluate[name] = self._compiler.audience(audiences[name])
        #: The audiences that ask for consent by themselves.
        self.asking_consent = frozenset().union(*by_consent.values())
        self._by_attribute = {key: self._with_dependants(names) for key, names in by_attribute.items()}
        self._by_consent = {key: self._with_dependants(names) for key, names in by_consent.items()}
        self._by_event: dict[str, list[tuple[Leaf, tuple[str, ...]]]] = {}
        for id, each in self._leaves.items():
            touched = self._with_dependants(by_leaf[id])
            for event in each.names:
                self._by_event.setdefault(event, []).append((each, touched))
        self._asked_by = by_leaf
        self.open_to_strangers = self._open_to_strangers()

    def listens_to(self, event: str) -> bool:
        """Whether any audience or trait asks about events of this name."""
        return event in self._by_event

    def fold(self, conditions: Conditions, event: Event) -> list[str]:
        """Folds an event into the state, in place; the audiences whose verdict may have changed by it, or when that
        falls due, some of them more than once."""
        touched: list[str] = []
        for leaf, names in self._by_event.get(event.name, ()):
            state = conditions.get(leaf.id)
            if leaf.fold(state, event) if state is not None else remember(conditions, leaf, event):
                touched += names
        return touched

    @property
    def events(self) -> frozenset[str]:
        """The names of the events that any audience or trait asks about."""
        return frozenset(self._by_event)

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
        leaves = self._leaves
        merged = {id: state for id, state in a.items() if id in leaves}
        for id, state in b.items():
            if id in leaves:
                merged[id] = leaves[id].merge(merged[id], state) if id in merged else state
        return merged

    def evaluate(self, audience: str, person: Person, now: int) -> Finding:
        """Whether the person belongs at this log time, until when that may stay so, and why. The person's memberships
        of audiences that this one refers to must be up to date."""
        return self._evaluate[audience](person, now)

    def consent(self, purpose: str, person: Person) -> bool | None:
        """What the person has said to a purpose or, where that is nothing, what holds by default."""
        return self._compiler.consent(purpose, person)

    def find(self, condition: Condition, person: Person, now: int) -> Finding:
        """What one condition of a definition comes to, by itself."""
        return self._compiler.condition(condition)(person, now)

    def memory_of(self, condition: EventCondition, person: Person) -> Any:
        """What is remembered of a person for a condition about events; `None` where that is nothing."""
        return person.conditions.get(leaf_of(condition).id)

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
        return tuple(sorted(self._rank.keys() & names, key=self._rank.__getitem__))

    def _with_dependants(self, names: Iterable[str]) -> tuple[str, ...]:
        known = set(names)
        return self.in_order(known.union(*(self._dependants[name] for name in known)))

    def _open_to_strangers(self) -> tuple[str, ...]:
        """The audiences that somebody may belong to of whom nothing is known but the id."""
        nobody: set[str] = set()
        stranger = Person({}, {}, {}, nobody)
        for name in self.names:
            if self.evaluate(name, stranger, 0).holds:
                nobody.add(name)
        return self._with_dependants(nobody | self._split)


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
