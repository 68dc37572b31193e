"""What a changed workspace file would do, before it is applied: definitions, people, messages, and loops that could
feed themselves. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import text

from adapters.connectors.connector import connector
from adapters.projections.people import load_members
from domain.audiences.definition import references_of
from domain.loops import Circle, Hop, asked_events, circles, hops_of
from domain.settling import settling_of
from domain.state import Plan
from domain.workspace import Workspace
from runtime.audiences.bulk import Bulk, Progress
from runtime.definitions import bodies_of, plan_of


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


def plan_workspace(bulk: Bulk, workspace: Workspace, progress: Progress) -> WorkspacePlan:
    """Compares a file with what is in force. `progress` is told what is done, from 0 to 1."""
    rows = bulk.connection.execute(text("SELECT kind, name, body FROM definition")).all()
    held = {(kind, name): body for kind, name, body in rows}
    counts = bulk.connection.execute(text("SELECT audience, count(*) AS size FROM membership GROUP BY 1"))
    sizes: dict[str, int] = {row.audience: row.size for row in counts}
    wanted = bodies_of(workspace)
    changes = _changes(held, wanted)
    changed = {(change.kind, change.name) for change in changes}
    plan = plan_of(workspace)
    moves = _moves(bulk, workspace, plan, changed, progress)
    withdrawn = [one.name for one in changes if one.kind == "audience" and one.becomes == "withdrawn"]
    return WorkspacePlan(
        bulk.position,
        changes,
        [*moves.values(), *(Moves(name, 0, sizes.get(name, 0), 0, False) for name in withdrawn)],
        list(_messages(plan, held, wanted, changed, moves, sizes)),
        circles_of(workspace),
        notes_of(workspace),
    )


def _moves(
    bulk: Bulk, workspace: Workspace, plan: Plan, changed: set[tuple[str, str]], progress: Progress
) -> dict[str, Moves]:
    """Of each audience that is looked at anew."""
    settling = settling_of(plan, bulk.position, bulk.now, changed)
    folded = {name for kind, name in changed if kind == "audience"}
    folded |= plan.audiences.asking_for(name for kind, name in changed if kind == "trait")
    found = {}
    for number, name in enumerate(settling.audiences):
        progress(f"asking for {name}", number / len(settling.audiences))
        query = bulk.members(workspace.audiences, name, workspace.traits, workspace.policies)
        inside = {profile for (profile,) in bulk.duck.execute(query).fetchall()}
        there = load_members(bulk.connection, name).keys()
        stay = len(inside & there)
        found[name] = Moves(name, len(inside) - stay, len(there) - stay, len(inside), name in folded)
    return found


def _changes(held: Mapping[tuple[str, str], Any], wanted: Mapping[tuple[str, str], Any]) -> list[Change]:
    withdrawn = [Change(kind, name, "withdrawn") for kind, name in sorted(held.keys() - wanted.keys())]
    others = [
        Change(kind, name, "changed" if (kind, name) in held else "new")
        for (kind, name), body in sorted(wanted.items())
        if held.get((kind, name)) != body
    ]
    return withdrawn + others


def _messages(
    plan: Plan,
    held: Mapping[tuple[str, str], Any],
    wanted: Mapping[tuple[str, str], Any],
    changed: set[tuple[str, str]],
    moves: Mapping[str, Moves],
    sizes: Mapping[str, int],
) -> Iterable[Messages]:
    """Of each connection of an audience: who enters and leaves or, where what it tells has changed, everybody."""
    others_by_default = _defaults(held) != _defaults(wanted)
    for audience in sorted(plan.destinations):
        now = moves.get(audience, Moves(audience, 0, 0, sizes.get(audience, 0), False))
        holdout = held.get(("audience", audience), {}).get("holdout", 0)
        for destination in plan.destinations[audience]:
            name, adds, removes = destination.connection, now.enter, now.leave
            before = held.get(("connection", name), {}).get("audience")
            tells = {("connection", name), *(("trait", trait) for trait in destination.traits)}
            defaults = others_by_default and bool(destination.purposes)
            if tells & changed or defaults or destination.holdout != holdout:
                adds, removes = now.size, sizes.get(before, 0)
            if "remove" not in destination.changes:
                removes = 0
            if adds or removes:
                yield Messages(name, adds, removes)


def _defaults(declared: Mapping[tuple[str, str], Any]) -> list[Any]:
    """What is declared of who has said nothing to a purpose."""
    bodies = [body for (kind, _), body in declared.items() if kind == "workspace"]
    return [(body.get("purposes", {}), body.get("jurisdictions", {})) for body in bodies]


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
