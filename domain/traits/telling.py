"""Computed traits that go along to destinations: their values, and when a destination has to be told of another one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from domain.audiences.evaluation import CompiledAudiences
from domain.profiles import Profile
from domain.routing import Destination

#: So begin the names of timers that are a trait's and no audience's.
_TIMER: Final = "trait:"
_NONE: Final[Mapping[str, Any]] = {}


class TraitsTold:
    """The traits that go along to these destinations, which are told of changes."""

    def __init__(self, compiled: CompiledAudiences, destinations: Iterable[Destination]) -> None:
        self._compiled = compiled
        told = [destination for destination in destinations if destination.traits]
        self._names = frozenset(trait for destination in told for trait in destination.traits)
        self._connections = frozenset(destination.connection for destination in told)
        #: The events that change any of them.
        self.events = compiled.events_of((), self._names)

    def values(self, destination: Destination, profile: Profile, now: int) -> Mapping[str, Any]:
        """What goes along to a destination, as it is at this log time."""
        if not destination.traits:
            return _NONE
        return self._compiled.values(destination.traits, profile.conditions, now)

    def await_changes(self, profile: Profile, now: int) -> None:
        """Notes when a value that a destination was told may change with no further event."""
        if not self._names:
            return
        told = not self._connections.isdisjoint(profile.routed)
        for name in self._names:
            leaf = self._compiled.traits[name]
            due = leaf.due(profile.conditions.get(leaf.id), now) if told else None
            if due is None:
                profile.dues.pop(_TIMER + name, None)
            else:
                profile.dues[_TIMER + name] = due


def fell_due(names: Iterable[str]) -> bool:
    """Whether any of these timers is a trait's."""
    return any(name.startswith(_TIMER) for name in names)
