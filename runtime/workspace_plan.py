"""What a changed workspace file would do, before it is applied: definitions, people, messages, and loops that could
feed themselves. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from adapters.connectors.connector import connector
from adapters.projections.people import load_members
from domain.audiences.definition import references_of
from domain.loops import Circle, Hop, asked_events, circles, hops_of
from domain.routing import Destination
from domain.settling import settling_of
from domain.workspace import Workspace
from runtime.audiences.bulk import Bulk, Progress
from runtime.definitions import declared_by, plan_of


class Change(NamedTuple):
    """What becomes of one definition: `new`, `changed` or `withdrawn`."""

    kind: str
    name: str
    becomes: str


class Moves(NamedTuple):
    """How many people enter an audience as the file takes effect, leave it, and are then in it. `backfilled` says
    whether the history is folded for it."""

    audience: str
    enter: int
    leave: int
    size: int
    backfilled: bool


class Messages(NamedTuple):
    """How many outbound records go out at most: consent and fields that a person lacks make them fewer."""

    connection: str
    adds: int
    removes: int


class WorkspacePlan(NamedTuple):
    """`position` is the log position that the figures are as of."""

    position: int
    changes: list[Change]
    audiences: list[Moves]
    messages: list[Messages]
    circles: list[Circle]
    notes: list[str]


def plan_workspace(engine: Engine, bulk: Bulk, workspace: Workspace, progress: Progress) -> WorkspacePlan:
    """Compares a file with what is in force. `progress` is told what is done, from 0 to 1."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT kind, name, body FROM definition")).all()
        held = {(kind, name): body for kind, name, body in rows}
        wanted = declared_by(workspace)
        changes = _changes(held, wanted)
        changed = [(change.kind, change.name) for change in changes]
        plan = plan_of(workspace)
        settling = settling_of(plan, bulk.position, bulk.now, changed)
        there = {name for kind, name in held if kind == "audience"}
        members = {name: load_members(connection, name).keys() for name in {*there, *workspace.audiences}}
    moves: dict[str, tuple[set[str], set[str]]] = {}
    found: list[Moves] = []
    fold = {name for kind, name in changed if kind == "audience"}
    for number, name in enumerate(settling.audiences):
        progress(f"asking for {name}", number / len(settling.audiences))
        query = bulk.members(workspace.audiences, name, workspace.traits)
        inside = {profile for (profile,) in bulk.duck.execute(query).fetchall()}
        enter, leave = inside - members[name], set(members[name]) - inside
        moves[name] = (enter, leave)
        found.append(Moves(name, len(enter), len(leave), len(inside), name in fold))
    for name in sorted(there - workspace.audiences.keys()):
        found.append(Moves(name, 0, len(members[name]), 0, False))
    sizes = {name: len(held) for name, held in members.items()} | {one.audience: one.size for one in found}
    return WorkspacePlan(
        bulk.position,
        changes,
        found,
        list(_messages(plan.destinations, changed, moves, sizes)),
        circles_of(workspace),
        notes_of(workspace),
    )


def _changes(held: Mapping[tuple[str, str], Any], wanted: Mapping[tuple[str, str], Any]) -> list[Change]:
    withdrawn = [Change(kind, name, "withdrawn") for kind, name in sorted(held.keys() - wanted.keys())]
    others = [
        Change(kind, name, "changed" if (kind, name) in held else "new")
        for (kind, name), body in sorted(wanted.items())
        if held.get((kind, name)) != body
    ]
    return withdrawn + others


def _messages(
    destinations: Mapping[str, tuple[Destination, ...]],
    changed: Iterable[tuple[str, str]],
    moves: Mapping[str, tuple[set[str], set[str]]],
    sizes: Mapping[str, int],
) -> Iterable[Messages]:
    anew = {name for kind, name in changed if kind == "connection"}
    for audience in sorted(destinations):
        enter, leave = moves.get(audience, (set(), set()))
        for destination in destinations[audience]:
            adds = sizes[audience] if destination.connection in anew else len(enter)
            removes = len(leave) if "remove" in destination.changes else 0
            if adds or removes:
                yield Messages(destination.connection, adds, removes)


def circles_of(workspace: Workspace) -> list[Circle]:
    """Where what comes back could fill the audience again that it came of."""
    hops = [hop for loop in workspace.loops.values() for hop in hops_of(loop)]
    return circles(hops, workspace.audiences, workspace.traits, lambda hop: _brings(workspace, hop))


def _brings(workspace: Workspace, hop: Hop) -> frozenset[str]:
    """The events that a hop's feed may bring back."""
    if hop.feed is None:
        return frozenset()
    return connector(workspace.connections[hop.connection].connector).engagement


def notes_of(workspace: Workspace) -> list[str]:
    """Hops that go by nothing that the hop before brings back."""
    notes = []
    for name, loop in workspace.loops.items():
        for hop in hops_of(loop):
            brought = _brings(workspace, hop)
            for after in hop.then:
                asked = _asked(workspace, after.audience)
                if brought and not asked & brought:
                    notes.append(
                        f"loop '{name}': audience '{after.audience}' asks for none of the events that come back from"
                        f" connection '{hop.connection}': {', '.join(sorted(brought))}"
                    )
    return notes


def _asked(workspace: Workspace, audience: str) -> set[str]:
    """The events that an audience asks about, by itself or by another that it refers to."""
    waiting, seen, found = [audience], {audience}, set[str]()
    while waiting:
        one = workspace.audiences[waiting.pop()]
        found |= asked_events(one, workspace.traits)
        fresh = references_of(one) - seen
        seen |= fresh
        waiting += fresh
    return found
