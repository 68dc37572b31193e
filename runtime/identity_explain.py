"""Why identifiers are one person's: each with the record that brought it, the records by which profiles became one, and
what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine

from adapters.log.read import read_positions, read_topics
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.identity_rules import Rules
from domain.messages import MergeRefused, ProfileMerged, ProfileUnmerged
from domain.profiles import Profile, nodes
from domain.records import Identifier, Row, node_id, record_of
from runtime.identity_rules import rules_of
from runtime.pipeline import CHECKPOINT
from runtime.profiles import person_of
from runtime.times import written

_MERGED: Final = "profile.merged"
_UNMERGED: Final = "profile.unmerged"
_REFUSED: Final = "identity.merge_refused"
_PAGE: Final = 5_000

_unmerged = msgspec.json.Decoder(ProfileUnmerged).decode
_merged = msgspec.json.Decoder(ProfileMerged).decode
_refused = msgspec.json.Decoder(MergeRefused).decode


def explain_identity(engine: Engine, said: str) -> dict[str, Any]:
    """The graph of whoever `KIND:VALUE` names, each edge with its log position. Reads through the log for merges.

    Raises `NobodyError` where that is nobody.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        profile = person_of(connection, said)
        position = read_checkpoint(connection, CHECKPOINT)
        rules = rules_of(load_workspace(connection))
        told = _told(connection, (_MERGED, _REFUSED, _UNMERGED))
        merges = _merges(profile, told)
        parted = _parted(profile, told)
        whose = {profile.id, *(one.merged for one in merges)}
        refusals = [_refused(state) for state in _of(told, _REFUSED)]
        refusals = [one for one in refusals if one.profile in whose]
        places = {at for values in profile.identifiers.values() for at in values.values()}
        causes = places | {one.cause for one in merges} | {one.cause for one in refusals}
        by_position = {row.position: row for row in read_positions(connection, sorted(causes))}
    theirs = {
        node_id(Identifier(kind, value)): f"{kind}:{value}"
        for kind, values in profile.identifiers.items()
        for value in values
    }
    edges = [_edge(by_position[at], theirs, rules, merges) for at in sorted(causes) if at in by_position]
    return {
        "profile": profile.id,
        "position": position,
        "identifiers": _identifiers(profile),
        "unmerged": [{"position": one.cause, "from": other} for one, other in parted],
        "edges": [edge for edge in edges if len(edge["joins"]) > 1 or edge["merged"]],
        "refused": [
            {"position": one.cause, "kind": one.identifier_kind, "reason": one.reason} for one in refusals
        ],
    }


def merges_of(connection: Connection, profile: Profile) -> list[ProfileMerged]:
    """By which others became this profile and still are, in order. Reads through the log."""
    return _merges(profile, _told(connection, (_MERGED, _UNMERGED)))


def _told(connection: Connection, topics: Sequence[str]) -> list[Row]:
    """What follows from a record is committed with the pipeline's position, and stands behind it."""
    told: list[Row] = []
    after = 0
    while rows := read_topics(connection, after, _PAGE, None, topics):
        told += [row for row in rows if not row.erased]
        after = rows[-1].position
    return told


def _merges(profile: Profile, told: Sequence[Row]) -> list[ProfileMerged]:
    """Those by which others became this profile, directly or through one another, in order. What was unmerged since is
    not the person's any more: a profile's id is the node of an identifier, which goes with it."""
    own = set(nodes(profile))
    parted = {one.parted: one.cause for one in map(_unmerged, _of(told, _UNMERGED))}
    by_kept: dict[str, list[ProfileMerged]] = {}
    for one in map(_merged, _of(told, _MERGED)):
        if one.merged in own and one.cause > parted.get(one.merged, 0):
            by_kept.setdefault(one.profile, []).append(one)
    found: list[ProfileMerged] = []
    waiting, seen = [profile.id], {profile.id}
    while waiting:
        for one in by_kept.get(waiting.pop(), ()):
            found.append(one)
            if one.merged not in seen:
                seen.add(one.merged)
                waiting.append(one.merged)
    return sorted(found, key=lambda one: one.cause)


def _parted(profile: Profile, told: Sequence[Row]) -> list[tuple[ProfileUnmerged, str]]:
    """By which this profile parted from others, and from whom."""
    found = [_unmerged(state) for state in _of(told, _UNMERGED)]
    return [
        (one, one.profile if one.parted == profile.id else one.parted)
        for one in found
        if profile.id in (one.profile, one.parted)
    ]


def _of(told: Sequence[Row], topic: str) -> list[bytes]:
    return [row.state for row in told if row.topic == topic]


def _identifiers(profile: Profile) -> list[dict[str, Any]]:
    found = [
        {"identifier": f"{kind}:{value}", "since": at}
        for kind, values in profile.identifiers.items()
        for value, at in values.items()
    ]
    return sorted(found, key=lambda one: (one["since"], one["identifier"]))


def _edge(row: Row, theirs: dict[str, str], rules: Rules, merges: Iterable[ProfileMerged]) -> dict[str, Any]:
    """What the record at a position says is one person's, and the profiles that became one by it."""
    merged = [one.merged for one in merges if one.cause == row.position]
    said: dict[str, Any] = {"position": row.position, "at": written(row.recorded_at), "record": row.topic}
    if row.erased:
        return said | {"joins": [], "merged": merged}
    record = rules.understood(record_of(row.state))
    nodes = [node_id(identifier) for identifier in record.identifiers]
    return said | {
        "feed": record.feed,
        "joins": [theirs[node] for node in nodes if node in theirs],
        "merged": merged,
    }
