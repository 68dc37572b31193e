"""How large audiences would be, before they are declared: asked of all history in bulk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_members
from domain.audiences.definition import Audience, validate_audiences
from domain.consent import NO_POLICIES
from runtime.audiences.bulk import Bulk, Progress


class Preview(NamedTuple):
    """An audience as it would be. `overlaps` has for each declared audience its size and how many are in both;
    `sample` are profile ids."""

    name: str
    size: int
    people: int
    position: int
    overlaps: dict[str, tuple[int, int]]
    sample: list[str]


def preview_audiences(
    bulk: Bulk, asked: Mapping[str, Audience], sample: int, progress: Progress
) -> list[Preview]:
    """Each asked audience. They may refer to one another, and to those that are declared.

    Raises `InvalidAudiences` where they refer to what is not there, or to each other in a circle.
    """
    workspace = load_workspace(bulk.connection)
    declared = dict(workspace.audiences) if workspace else {}
    traits = workspace.traits if workspace else {}
    policies = workspace.policies if workspace else NO_POLICIES
    members = {name: load_members(bulk.connection, name) for name in declared if name not in asked}
    every = declared | dict(asked)
    validate_audiences(every, traits)
    found = []
    for number, name in enumerate(asked):
        progress(f"asking for {name}", number / len(asked))
        query = bulk.members(every, name, traits, policies)
        inside = {profile for (profile,) in bulk.duck.execute(query).fetchall()}
        overlaps = {other: (len(of), len(inside & of.keys())) for other, of in members.items()}
        found.append(
            Preview(name, len(inside), bulk.people, bulk.position, overlaps, sorted(inside)[:sample])
        )
    progress("done", 1.0)
    return found
