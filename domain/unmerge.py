"""Unmerging: one person turns out to be two, who then are what they would be had they never been one.

A request names two nodes of one person. Where it stands in the log, the person's records are folded again with these
two apart from the beginning, and what comes of that takes the person's place. Destinations are told the difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from domain import derived
from domain.channels import reached_apart
from domain.fold import Fold
from domain.identifiers import KINDS
from domain.profiles import Profile, as_person, keep_apart, nodes
from domain.records import Entry, Identifier, node_id
from domain.routing import Destination, Routed, route
from domain.state import MembershipChange, State

REQUESTED: Final = "subject.unmerge_requested"
UNMERGED: Final = "subject.unmerged"
REFUSED: Final = "subject.unmerge_refused"
#: Records of one person that are folded again; who has more is not unmerged (docs/reference/limits.md).
RECORD_LIMIT: Final = 20_000

NOT_ONE: Final = "the two are not one person's"
UNREADABLE: Final = "none of the person's records can be read"
TOO_MANY: Final = "the person has more than {limit} records, and no more are folded again"

_encode = msgspec.json.Encoder().encode


class UnmergeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks that the person with these two nodes be two. `asked_by` is a hash of who that was."""

    id: str
    node: str
    other: str
    asked_by: str


class SubjectUnmerged(msgspec.Struct, frozen=True, kw_only=True):
    """A person is several: `profile` was one before, `parted` are those beside it now. `nobodys` are nodes that no
    record of its own makes anybody's. `requested` is the request's position."""

    id: str
    requested: int
    profile: str
    parted: list[str]
    nobodys: list[str]


class UnmergeRefused(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody was unmerged, and why. `requested` is the request's position."""

    id: str
    requested: int
    reason: str


decode_request = msgspec.json.Decoder(UnmergeRequest).decode
decode_unmerged = msgspec.json.Decoder(SubjectUnmerged).decode
decode_refused = msgspec.json.Decoder(UnmergeRefused).decode


def request_entry(request: UnmergeRequest) -> Entry:
    """Nobody's row: it names nodes alone, which are in the log anyway."""
    return Entry(request.id, 1, REQUESTED, None, _encode(request))


def refused_entry(request: UnmergeRequest, position: int, reason: str) -> Entry:
    told = UnmergeRefused(id=request.id, requested=position, reason=reason)
    return Entry(request.id, 2, REFUSED, None, _encode(told))


def subjects_of(profile: Profile, feeds: Collection[str]) -> set[str]:
    """The subjects that a person's records may have: nodes of the identifiers, also by the names that feeds have for
    what may be a declared kind."""
    found = set(nodes(profile))
    for kind, values in profile.identifiers.items():
        if kind not in KINDS and "." not in kind:
            found |= {node_id(Identifier(f"{feed}.{kind}", value)) for value in values for feed in feeds}
    return found


def apart_from(profile: Profile, request: UnmergeRequest, position: int) -> Mapping[str, Mapping[str, int]]:
    """Which nodes of the person are apart from which, with what the request asks for."""
    found = {node: dict(others) for node, others in profile.apart.items()}
    for node, other in ((request.node, request.other), (request.other, request.node)):
        found.setdefault(node, {})[other] = position
    return found


def person_of(state: State, request: UnmergeRequest, position: int) -> Profile | None:
    """Whom the request is about; `None` where the two are not one person. Then whoever has one of them is kept apart
    from the other: a replay meets but one of two of whom the other was erased since."""
    sides = ((request.node, request.other), (request.other, request.node))
    holders = [state.graph.get(node) for node, _ in sides]
    if holders[0] is not None and holders[0] == holders[1]:
        return state.profiles[holders[0]]
    for holder, (node, other) in zip(holders, sides, strict=True):
        if holder is not None:
            keep_apart(state.profiles[holder], node, {other: position})
    return None


class Place(NamedTuple):
    """Where in the log a request stands, and the log's time there (microseconds)."""

    position: int
    at: int


def part(fold: Fold, place: Place, request: UnmergeRequest, profile: Profile, again: State) -> Entry:
    """Puts what was folded again in the person's place, and tells what differs; the record that says what was done.
    Every timer due by then has fired, of both."""
    told, members = dict(profile.routed), dict(profile.memberships)
    halves = sorted(again.profiles.values(), key=lambda one: (one.created, one.id))
    nobodys = []
    for node in nodes(profile):
        holder = again.graph.get(node)
        if holder is None:
            del fold.state.graph[node]
            fold.changes.unlinked.add(node)
            nobodys.append(node)
        else:
            fold.state.graph[node] = fold.changes.links[node] = holder
    del fold.state.profiles[profile.id]
    if profile.id not in again.profiles:
        fold.changes.merged[profile.id] = halves[0].id
        fold.changes.memberships += [MembershipChange(audience, profile.id, None) for audience in members]
    for half in halves:
        fold.state.profiles[half.id] = half
        fold.changes.profiles.add(half.id)
        first = half.id == again.graph.get(profile.id)
        half.reached = reached_apart(profile.reached, half.reached, first, place.at)
        _tell_memberships(fold, half, members if half.id == profile.id else {}, place)
    parted = [half.id for half in halves if half.id != profile.id]
    fold.changes.derived += [
        (place.position, derived.profile_unmerged(profile.id, one, place.position)) for one in parted
    ]
    _leave_to_runs(fold, profile, halves)
    for connection in dict.fromkeys(name for one in (told, *(h.routed for h in halves)) for name in one):
        destination = fold.plan.destination(connection)
        if destination is not None and not destination.by_runs:
            _tell_destination(fold, destination, profile.id, told.get(connection), halves, place)
    done = SubjectUnmerged(
        id=request.id,
        requested=place.position,
        profile=profile.id,
        parted=parted,
        nobodys=sorted(nobodys),
    )
    return Entry(request.id, 2, UNMERGED, None, _encode(done))


def _tell_memberships(fold: Fold, half: Profile, before: Mapping[str, object], place: Place) -> None:
    compiled, (position, at) = fold.plan.audiences, place
    for audience in sorted(before.keys() - half.memberships.keys()):
        fold.changes.memberships.append(MembershipChange(audience, half.id, None))
        left = derived.membership(audience, half.id, False, at, position, ())
        fold.changes.derived.append((position, left))
    person = as_person(half)
    for audience in compiled.in_order(half.memberships):
        if before.get(audience) != half.memberships[audience]:
            fold.changes.memberships.append(MembershipChange(audience, half.id, half.memberships[audience]))
        if audience not in before:
            because = compiled.evaluate(audience, person, at).because
            entered = derived.membership(audience, half.id, True, at, position, because)
            fold.changes.derived.append((position, entered))


def _leave_to_runs(fold: Fold, profile: Profile, halves: Sequence[Profile]) -> None:
    """What a destination that is told by runs knows of the person is taken for the first one's: the next run sets it
    right, and tells of the others."""
    known = (name for one in (profile, *halves) for name in (*one.routed, *one.unsaid))
    for name in dict.fromkeys(known):
        destination = fold.plan.destination(name)
        if destination is None or not destination.by_runs:
            continue
        for half in halves:
            half.routed.pop(name, None)
            half.unsaid.pop(name, None)
        if name in profile.routed:
            halves[0].routed[name] = profile.routed[name]
        if name in profile.unsaid:
            halves[0].unsaid[name] = profile.unsaid[name]


def _tell_destination(
    fold: Fold,
    destination: Destination,
    was: str,
    told: Mapping[str, object] | None,
    halves: Iterable[Profile],
    place: Place,
) -> None:
    """What a destination knows becomes what it would know. One that sends messages sends to those only who would get
    one now: the moment for others has passed, or the message that the person got was theirs."""
    name = destination.connection
    wanted = [(half, half.routed[name]) for half in halves if name in half.routed]
    kept = next((half for half, fields in wanted if fields == told), None)
    if told is not None and kept is None and "remove" in destination.changes:
        fold.telling.routed.append((place.position, was, Routed(destination, "remove", dict(told))))
    for half, fields in wanted:
        if half is kept:
            continue
        if "remove" in destination.changes:
            fold.telling.entry(half, Routed(destination, "add", fields), place.at, place.position)
            continue
        del half.routed[name]
        now = route(half, destination, fold.telling.traits.values(destination, half, place.at))
        half.routed[name] = fields
        for one in now:
            if isinstance(one, Routed):
                fold.telling.entry(half, one, place.at, place.position)
