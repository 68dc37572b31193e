"""What is known of one person, as the pipeline's position has it."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from adapters.log.read import read_positions
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph, load_profiles, see_person
from domain.audiences.evaluation import CompiledAudiences
from domain.consent import Policies
from domain.identifiers import read_identifier
from domain.mendable import Mendable
from domain.profiles import Profile, consent_to
from domain.records import Identifier, node_id
from runtime.definitions import plan_of
from runtime.pipeline import CHECKPOINT
from runtime.times import written

NOBODY: Final = "nobody is known by this identifier, or the pipeline has not come to them yet"


class NobodyError(Mendable, LookupError):
    """What was given leads to nobody, or to no audience."""


def show_profile(engine: Engine, said: str) -> dict[str, Any]:
    """The profile of whoever `KIND:VALUE` names, and the position that it is as of. What decided stands beside
    each value: the feed's priority, the source's time, the record's position.

    Raises `NobodyError` where that is nobody.
    """
    node = node_id(identifier_of(said))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        seen = see_person(connection, node, CHECKPOINT)
    definitions, compiled = _compiled.get(engine, (None, None))
    if compiled is None or definitions != seen.definitions or seen.now is None:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            seen = see_person(connection, node, CHECKPOINT)._replace(now=log_time(connection))
            compiled = plan_of(load_workspace(connection)).audiences
        _compiled[engine] = seen.definitions, compiled
    if seen.profile is None:
        raise NobodyError(NOBODY)
    traits = compiled.values(compiled.traits, seen.profile.conditions, seen.now or 0)
    return {"position": seen.position, **shown_profile(seen.profile, traits, compiled.policies)}


#: What a database's definitions came to when they were last looked at: making them ready takes longer than all else.
_compiled: WeakKeyDictionary[Engine, tuple[tuple[int, int], CompiledAudiences]] = WeakKeyDictionary()


def log_time(connection: Connection) -> int:
    """The log's time (microseconds) at the pipeline's position: 0 before it has come to any."""
    rows = read_positions(connection, [read_checkpoint(connection, CHECKPOINT)])
    return rows[0].recorded_at if rows else 0


def person_of(connection: Connection, said: str) -> Profile:
    """The profile of whoever `KIND:VALUE` names. Raises `NobodyError` where that is nobody."""
    node = node_id(identifier_of(said))
    found = load_graph(connection, [node])
    profiles = load_profiles(connection, found.values())
    if node not in found or found[node] not in profiles:
        raise NobodyError(NOBODY)
    return profiles[found[node]]


def identifier_of(said: str) -> Identifier:
    """What `KIND:VALUE` names. Raises `NobodyError` where that can be nobody."""
    kind, colon, value = said.partition(":")
    identifier = read_identifier(kind, value) if colon else None
    if identifier is None:
        raise NobodyError("this names nobody; write KIND:VALUE, as user_id:u-17")
    return identifier


def shown_profile(profile: Profile, traits: dict[str, Any], policies: Policies) -> dict[str, Any]:
    """A profile for people and programs; `traits` are its computed ones, `policies` say what holds of a purpose to
    which the person has said nothing."""
    return {
        "profile": profile.id,
        "created": profile.created,
        "latest": profile.latest,
        "identifiers": {
            kind: [
                {"value": value, "position": values[value]}
                for value in sorted(values, key=values.__getitem__)
            ]
            for kind, values in sorted(profile.identifiers.items())
        },
        "attributes": {
            name: {
                "value": held.value,
                "priority": held.priority,
                "occurred_at": written(held.occurred_at),
                "position": held.position,
            }
            for name, held in sorted(profile.attributes.items())
        },
        "traits": traits,
        "consent": {
            purpose: _consent(profile, purpose, policies)
            for purpose in sorted({*profile.consent, *policies.purposes})
        },
        "memberships": {
            audience: {"entered_at": written(membership.at), "position": membership.position}
            for audience, membership in sorted(profile.memberships.items())
        },
        "sent": dict(sorted({**profile.heard, **profile.routed}.items())),
    }


def _consent(profile: Profile, purpose: str, policies: Policies) -> dict[str, Any]:
    held = profile.consent.get(purpose)
    if held is None:
        return {"given": consent_to(profile, purpose, policies), "by_default": True}
    shown = {"given": held.given, "occurred_at": written(held.occurred_at), "position": held.position}
    terms = {"feed": held.feed, "jurisdiction": held.jurisdiction, "document": held.document}
    return shown | {name: value for name, value in terms.items() if value}
