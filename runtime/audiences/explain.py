"""Why somebody is in an audience: the definition's clauses, of the person's profile as it is or was."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine

from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.audiences.evaluation import Person, compile_audiences
from domain.audiences.explanation import Clause, explain
from runtime.pipeline import CHECKPOINT
from runtime.profiles import NobodyError, log_time, person_of


class Explained(NamedTuple):
    """The clauses, as of a position."""

    position: int
    clause: Clause


def explain_membership(engine: Engine, audience: str, said: str) -> Explained:
    """Explains now. Raises `NobodyError` where there is no such audience or person."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        declared = dict(workspace.audiences) if workspace else {}
        if audience not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise NobodyError(f"no audience '{audience}' is declared; declared are: {known}")
        profile = person_of(connection, said)
        position, now = read_checkpoint(connection, CHECKPOINT), log_time(connection)
    person = Person(
        profile.conditions,
        {name: attribute.value for name, attribute in profile.attributes.items()},
        {purpose: consent.given for purpose, consent in profile.consent.items()},
        profile.memberships,
        profile.id,
    )
    compiled = compile_audiences(declared, workspace.traits if workspace else {})
    return Explained(position, explain(declared[audience], compiled, person, now))
