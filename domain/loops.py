"""Loops: an audience is told of to a destination, the destination's feed brings back what came of it, and the next
audience goes by that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from domain.audiences.definition import Audience, TraitCondition, conditions_of, references_of
from domain.audiences.durations import Duration
from domain.audiences.events import EventCount, EventSum, FirstOrLast, Sequence
from domain.secret_ref import Model, Name
from domain.traits.definition import Trait

#: Hops may follow one another this far, and so many may be in one loop.
DEEPEST: Final = 20
MOST_HOPS: Final = 1_000


class Hop(Model):
    """Members of `audience` are told of by `connection`; what came of it comes back by its paired `feed`, and
    `then` the next hops go by that: several of them are branches."""

    audience: Name
    connection: Name
    feed: Name | None = None
    then: list[Hop] = []

    @model_validator(mode="after")
    def _brings_something_back(self) -> Hop:
        if self.then and self.feed is None:
            raise ValueError(
                f"after connection '{self.connection}' other hops follow: name the 'feed' that brings its engagement"
                " back"
            )
        return self


def _bounded(value: Any) -> Any:
    # Walked before it is read: a YAML alias can make a loop endless in a few bytes.
    level, seen, depth = _listed(value), 0, 0
    while level:
        depth, seen = depth + 1, seen + len(level)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} hops follow one another: make two loops of it")
        if seen > MOST_HOPS:
            raise ValueError(f"a loop has more than {MOST_HOPS} hops: make two loops of it")
        level = [after for hop in level if isinstance(hop, dict) for after in _listed(hop.get("then"))]
    return value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class Conversion(Model):
    """What a loop is for: an event that people do, `within` so long (microseconds) after they were told."""

    event: Annotated[str, Field(min_length=1)]
    within: Duration = 604_800_000_000


class Loop(Model):
    """A loop by its first hops, each with those that follow it. `conversion` is what its lift is measured by."""

    description: Annotated[str, Field(max_length=1_000)] = ""
    conversion: Conversion | None = None
    hops: Annotated[list[Hop], Field(min_length=1), BeforeValidator(_bounded)]


class Circle(NamedTuple):
    """Audiences, each of which may fill the next; the last one fills the first again. `connection` is the one by
    which the first goes out."""

    connection: str
    audiences: tuple[str, ...]


def hops_of(loop: Loop) -> Iterator[Hop]:
    """Every hop, each before those that follow it."""
    waiting = loop.hops[::-1]
    while waiting:
        hop = waiting.pop()
        yield hop
        waiting += hop.then[::-1]


def asked_events(audience: Audience, traits: Mapping[str, Trait]) -> set[str]:
    """The events that an audience asks about by itself."""
    found: set[str] = set()
    for condition in conditions_of(audience.match):
        match condition:
            case EventCount() | EventSum() | FirstOrLast():
                found.add(condition.event)
            case Sequence():
                found |= {condition.event, *(answer.event for answer in condition.answers)}
            case TraitCondition() if condition.trait in traits:
                found.add(traits[condition.trait].event)
            case _:
                pass
    return found


def circles(
    hops: Iterable[Hop],
    audiences: Mapping[str, Audience],
    traits: Mapping[str, Trait],
    brings: Callable[[Hop], frozenset[str]],
) -> list[Circle]:
    """Where what comes back from a hop could fill its own audience again, directly or through other hops. `brings` says
    which events a hop's feed may bring back."""
    asked = {name: asked_events(audience, traits) for name, audience in audiences.items()}
    fills: dict[str, set[str]] = {name: set() for name in audiences}
    for name, audience in audiences.items():
        for referred in references_of(audience):
            fills[referred].add(name)
    direct: list[tuple[Hop, set[str]]] = []
    for hop in hops:
        filled = {name for name in audiences if asked[name] & brings(hop)}
        direct.append((hop, filled))
        fills[hop.audience] |= filled
    found = []
    for hop, filled in direct:
        way = _way(fills, filled, hop.audience)
        if way is not None:
            found.append(Circle(hop.connection, (hop.audience, *way[:-1])))
    return list(dict.fromkeys(found))


def _way(fills: Mapping[str, set[str]], start: set[str], goal: str) -> tuple[str, ...] | None:
    """The shortest way from any of these to the goal, with both ends."""
    ways: list[tuple[str, ...]] = [(name,) for name in sorted(start)]
    seen = set(start)
    while ways:
        longer: list[tuple[str, ...]] = []
        for way in ways:
            if way[-1] == goal:
                return way
            fresh = sorted(fills[way[-1]] - seen)
            seen.update(fresh)
            longer += [(*way, name) for name in fresh]
        ways = longer
    return None
