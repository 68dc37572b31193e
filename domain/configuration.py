"""A definition of the workspace (a feed, an audience, a connection) as an aggregate in the log.

As every change of a definition is an event, a replay knows which definition held at each position.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from eventsourcing.domain import Aggregate, event

from domain.records import derive_id

#: What the topics of these events begin with.
TOPIC_PREFIX: Final = f"{__name__}:"
#: All of their topics.
TOPICS: Final = tuple(f"{TOPIC_PREFIX}Definition.{event}" for event in ("Declared", "Changed", "Withdrawn"))


class Definition(Aggregate):
    """One named thing a workspace declares. `body` is its YAML form; `None` once it is withdrawn."""

    @event("Declared")
    def __init__(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.kind = kind
        self.name = name
        self.body: dict[str, Any] | None = body

    @staticmethod
    def create_id(kind: str, name: str) -> UUID:
        return UUID(derive_id("definition", kind, name))

    @event("Changed")
    def change(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.body = body

    @event("Withdrawn")
    def withdraw(self, kind: str, name: str) -> None:
        self.body = None
