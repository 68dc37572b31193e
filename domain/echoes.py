"""Whether an event came of what connections sent, so that none of them sends it on: around whatever ring, what has once
gone through a connection does not go through it again. Why so: docs/decisions/0232-events-do-not-go-round.md."""

from __future__ import annotations

from collections.abc import Iterable

from domain.profiles import Profile


def came_through(profile: Profile, answered: Iterable[str]) -> frozenset[str]:
    """The connections through which an event of this person has come, by a feed that brings back what became of what
    those that are `answered` sent: each that has told of the person, with those that its events had come through."""
    found: set[str] = set()
    for connection in answered:
        if connection in profile.heard or connection in profile.routed:
            found.update((connection, *profile.ways.get(connection, ())))
    return frozenset(found)


def note_way(profile: Profile, connection: str, through: frozenset[str]) -> None:
    """Notes what an event that a connection sends has come through. One that begins with the person themselves begins
    anew; others add to what is noted, as which of them is answered next nobody knows."""
    if through:
        profile.ways[connection] = sorted(through.union(profile.ways.get(connection, ())))
    else:
        profile.ways.pop(connection, None)
