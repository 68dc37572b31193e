"""Why somebody is in an audience: the definition's clauses, of the person's profile as it is or was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Engine

from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.audiences.definition import Audience
from domain.audiences.evaluation import Person, compile_audiences
from domain.audiences.explanation import Clause, explain
from domain.profiles import Profile
from domain.traits.definition import Trait
from runtime.past import ChangeOf
from runtime.pipeline import CHECKPOINT
from runtime.profile_then import person_then
from runtime.profiles import NobodyError, log_time, person_of


class Explained(NamedTuple):
    """The clauses, as of a position."""

    position: int
    clause: Clause


def explain_membership(engine: Engine, audience: str, said: str) -> Explained:
    """Explains now. Raises `NobodyError` where there is no such audience or person."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        profile = person_of(connection, said)
        position, now = read_checkpoint(connection, CHECKPOINT), log_time(connection)
    audiences = dict(workspace.audiences) if workspace else {}
    traits = dict(workspace.traits) if workspace else {}
    return Explained(position, _explained(audience, audiences, traits, profile, now))


def explain_membership_then(
    engine: Engine, audience: str, said: str, place: str, change_of: ChangeOf
) -> Explained:
    """Explains it as it was at a position, or right before a time, by what was declared then.

    Raises `NobodyError`, `PlaceError` and `TooMuchPastError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        then = person_then(connection, said, place, change_of)
    declared = then.plans.declared()
    audiences = {
        name: Audience.model_validate(body)
        for (kind, name), (body, _) in declared.items()
        if kind == "audience"
    }
    traits = {
        name: Trait.model_validate(body) for (kind, name), (body, _) in declared.items() if kind == "trait"
    }
    return Explained(then.position, _explained(audience, audiences, traits, then.profile, then.now))


def _explained(
    name: str,
    audiences: Mapping[str, Audience],
    traits: Mapping[str, Trait],
    profile: Profile,
    now: int,
) -> Clause:
    if name not in audiences:
        known = ", ".join(sorted(audiences)) or "none"
        raise NobodyError(f"no audience '{name}' is declared; declared are: {known}")
    person = Person(
        profile.conditions,
        {name: attribute.value for name, attribute in profile.attributes.items()},
        {purpose: consent.given for purpose, consent in profile.consent.items()},
        profile.memberships,
        profile.id,
    )
    return explain(audiences[name], compile_audiences(audiences, traits), person, now)
