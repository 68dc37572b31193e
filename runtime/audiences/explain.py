"""Why somebody is in an audience: the definition's clauses, of the person's profile as it is or was."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, Engine

from adapters.log.read import read_positions
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph, load_profiles
from domain.audiences.evaluation import Person, compile_audiences
from domain.audiences.explanation import Clause, explain
from domain.identifiers import read_identifier
from domain.profiles import Profile
from domain.records import node_id
from runtime.pipeline import CHECKPOINT


class Explained(NamedTuple):
    """The clauses, as of a position."""

    position: int
    clause: Clause


class NobodyError(LookupError):
    """What was given leads to nobody, or to no audience."""


def explain_membership(engine: Engine, audience: str, said: str) -> Explained:
    """Explains now. Raises `NobodyError` where there is no such audience or person."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        declared = dict(workspace.audiences) if workspace else {}
        if audience not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise NobodyError(f"no audience '{audience}' is declared; declared are: {known}")
        profile = person_of(connection, said)
        position = read_checkpoint(connection, CHECKPOINT)
        rows = read_positions(connection, [position])
    now = rows[0].recorded_at if rows else 0
    person = Person(
        profile.conditions,
        {name: attribute.value for name, attribute in profile.attributes.items()},
        {purpose: consent.given for purpose, consent in profile.consent.items()},
        profile.memberships,
        profile.id,
    )
    return Explained(position, explain(declared[audience], compile_audiences(declared), person, now))


def person_of(connection: Connection, said: str) -> Profile:
    """The profile of `KIND:VALUE`. Raises `NobodyError`."""
    kind, colon, value = said.partition(":")
    identifier = read_identifier(kind, value) if colon else None
    if identifier is None:
        raise NobodyError(f"'{said}' names nobody; write KIND:VALUE, as user_id:u-17")
    node = node_id(identifier)
    found = load_graph(connection, [node])
    if node not in found:
        raise NobodyError(f"nobody is known by {kind}:{value}")
    return load_profiles(connection, [found[node]])[found[node]]
