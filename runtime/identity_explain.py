"""Why identifiers are one person's: each with the record that brought it, the records by which profiles became one, and
what was refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import Engine

from adapters.log.read import read_positions, read_topics
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.identity_rules import Rules
from domain.messages import MergeRefused, ProfileMerged
from domain.profiles import Profile
from domain.records import Identifier, Row, node_id, record_of
from runtime.identity_rules import rules_of
from runtime.pipeline import CHECKPOINT
from runtime.profiles import person_of
from runtime.times import written

_TOPICS: Final = ("profile.merged", "identity.merge_refused")
_PAGE: Final = 5_000

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
        told: list[Row] = []
        after = 0
        while rows := read_topics(connection, after, _PAGE, position, _TOPICS):
            told += rows
            after = rows[-1].position
        merges = _merges(
            profile.id, [_merged(r.state) for r in told if r.topic == _TOPICS[0] and not r.erased]
        )
        whose = {profile.id, *(one.merged for one in merges)}
        refusals = [_refused(row.state) for row in told if row.topic == _TOPICS[1] and not row.erased]
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
        "edges": [edge for edge in edges if len(edge["joins"]) > 1 or edge["merged"]],
        "refused": [
            {"position": one.cause, "kind": one.identifier_kind, "reason": one.reason} for one in refusals
        ],
    }


def _merges(profile: str, all: Iterable[ProfileMerged]) -> list[ProfileMerged]:
    """Those by which others became this profile, directly or through one another, in order."""
    by_kept: dict[str, list[ProfileMerged]] = {}
    for one in all:
        by_kept.setdefault(one.profile, []).append(one)
    found: list[ProfileMerged] = []
    waiting, seen = [profile], {profile}
    while waiting:
        for one in by_kept.get(waiting.pop(), ()):
            found.append(one)
            if one.merged not in seen:
                seen.add(one.merged)
                waiting.append(one.merged)
    return sorted(found, key=lambda one: one.cause)


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
