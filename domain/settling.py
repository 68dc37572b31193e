"""A changed workspace takes effect as a whole, at the record that says that all of it is declared.

From there on its audiences are what they would be had they been declared from the start: their conditions are folded
over the whole history, everybody is looked at anew, and destinations of changed connections are told the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from domain.records import Entry, derive_id
from domain.state import Plan

#: The topic of the record.
APPLIED: Final = "workspace.applied"
#: All of them are one stream, whose versions count how often a workspace took effect.
STREAM: Final = derive_id("workspace", "applied")

_encode = msgspec.json.Encoder().encode


class WorkspaceApplied(msgspec.Struct, frozen=True):
    """So many definitions were changed, withdrawn or declared before this one since the last."""

    definitions: int


class Settling(NamedTuple):
    """What has to be looked at anew when a workspace takes effect at `position`, at the log's time `at`
    (microseconds): `audiences` of everybody, and for members of `told` what destinations know of them."""

    position: int
    at: int
    audiences: tuple[str, ...]
    told: frozenset[str]


def applied_entry(version: int, definitions: int) -> Entry:
    """Nobody's row."""
    return Entry(STREAM, version, APPLIED, None, _encode(WorkspaceApplied(definitions)))


def settling_of(plan: Plan, position: int, at: int, changed: Iterable[tuple[str, str]]) -> Settling:
    """What the definitions with these kinds and names, as they are now, make to be looked at."""
    names = set(changed)
    compiled = plan.audiences
    audiences = {name for kind, name in names if kind == "audience"}
    audiences |= compiled.asking_for(name for kind, name in names if kind == "trait")
    # What is declared of purposes stands with the workspace itself.
    declared_anew = any(kind == "workspace" for kind, _ in names)
    if declared_anew:
        audiences |= compiled.asking_consent
    told = {
        audience
        for audience, destinations in plan.destinations.items()
        for destination in destinations
        if ("connection", destination.connection) in names
        or ("audience", audience) in names
        or ("channel", destination.channel) in names
        or any(("trait", trait) in names for trait in destination.traits)
        or (declared_anew and destination.purposes)
    }
    anew = compiled.in_order((*audiences, *compiled.dependants(audiences)))
    return Settling(position, at, anew, frozenset(told))
