"""Events that a connection sends on as they come: which, of whom, and with what of the person and of the event.

A destination hears of an event once, with the fields that the person had when it was applied. What may not be sent
is passed over: `roundtrip connection preview NAME POSITION` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from domain.audiences.comparisons import Path, Where
from domain.audiences.events import EventName
from domain.audiences.matching import matcher, value_at
from domain.profiles import Profile, consented
from domain.routing import Destination, Routed, Withheld, fields_of, lacking, unsampled
from domain.secret_ref import Model

#: Every event, whatever its name.
EVERY: Final = "*"
#: Of an event that has gone through the connection already.
ECHO: Final = "it came of what this connection sent, and would go round"


class ForwardedEvent(Model):
    """An event by its name, `*` for every event, and what its properties have to be."""

    event: EventName
    where: Where = {}


def _by_name(value: Any) -> Any:
    return {"event": value} if isinstance(value, str) else value


ForwardedEvents = Annotated[
    list[Annotated[ForwardedEvent, BeforeValidator(_by_name)]], Field(min_length=1, max_length=1_000)
]
#: The destination's name → where the property is in the event; or all of them, under their own names.
Properties = dict[str, Path] | Literal["all"]


class Happening(NamedTuple):
    """An event as it came: by which feed, its name, when (microseconds), its properties, and the connections that it
    `came_through`."""

    feed: str
    name: str
    occurred_at: int
    properties: Mapping[str, Any]
    came_through: frozenset[str] = frozenset()


class Forwarding(NamedTuple):
    """A connection that events go out by. `feeds` are those whose events go out, all where there are none;
    `properties` are `None` where all go along; `share` is the percent of people whose events are sent. `patience` is
    how long one waits for an identifier (microseconds)."""

    destination: Destination
    events: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...]
    properties: tuple[tuple[str, str], ...] | None
    feeds: frozenset[str] = frozenset()
    patience: int = 0

    def listens_to(self, happening: Happening) -> bool:
        """Whether the event is one of those that are sent."""
        if self.feeds and happening.feed not in self.feeds:
            return False
        return any(
            name in (happening.name, EVERY) and holds(happening.properties) for name, holds in self.events
        )


class Forwardings:
    """All of a workspace's, by the names of their events; never changed."""

    def __init__(self, forwardings: tuple[Forwarding, ...] = ()) -> None:
        self.all = forwardings
        self._by_name: dict[str, tuple[Forwarding, ...]] = {}
        for one in forwardings:
            for name in dict.fromkeys(name for name, _ in one.events):
                self._by_name[name] = (*self._by_name.get(name, ()), one)
        self._every = self._by_name.get(EVERY, ())
        self._by_connection = {one.destination.connection: one for one in forwardings}
        #: The names of the events that any of them may want; `EVERY` stands for all.
        self.events = frozenset(self._by_name)

    def by(self, connection: str) -> Forwarding | None:
        """That of a connection, `None` where it sends no events."""
        return self._by_connection.get(connection)

    def of(self, name: str) -> tuple[Forwarding, ...]:
        """Those that may want an event of this name, each once."""
        named = self._by_name.get(name, ())
        return named if not self._every else tuple(dict.fromkeys((*named, *self._every)))


def choice(event: ForwardedEvent) -> tuple[str, Callable[[Mapping[str, Any]], bool]]:
    """The event's name, and what its properties are looked at by."""
    asked = [(path, matcher(comparison)) for path, comparison in event.where.items()]

    def holds(properties: Mapping[str, Any]) -> bool:
        return all(meets(value_at(properties, path)) for path, meets in asked)

    return event.event, holds


def forward(
    profile: Profile, forwarding: Forwarding, happening: Happening, traits: Mapping[str, Any] = {}
) -> Routed | Withheld:
    """What is sent of an event that the connection listens to, or why it is not. Changes nothing."""
    if forwarding.destination.connection in happening.came_through:
        return Withheld(forwarding.destination, ECHO)
    found = told_of(profile, forwarding, traits)
    if isinstance(found, Withheld):
        return found
    properties = chosen(forwarding, happening)
    return Routed(forwarding.destination, "event", found, happening.name, happening.occurred_at, properties)


def chosen(forwarding: Forwarding, happening: Happening) -> dict[str, Any]:
    """The event's properties that go along."""
    if forwarding.properties is None:
        return dict(happening.properties)
    values = ((name, value_at(happening.properties, path)) for name, path in forwarding.properties)
    return {name: value for name, value in values if value is not None}


def told_of(
    profile: Profile, forwarding: Forwarding, traits: Mapping[str, Any] = {}
) -> dict[str, Any] | Withheld:
    """What is told of the person with an event, or why nothing may be."""
    destination = forwarding.destination
    fields, missing = fields_of(profile, destination, traits)
    identifier = lacking(profile, destination) if missing else ""
    if not consented(profile, destination.purpose, destination.policies):
        identifier, missing = "", f"no consent to '{destination.purpose}'"
    elif outside := unsampled(profile, destination):
        identifier, missing = "", outside
    return Withheld(destination, missing, identifier) if missing else fields
