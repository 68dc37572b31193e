"""Why somebody is in an audience: the definition's clauses, of the person's profile as it is or was."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine

from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace, workspace_of
from domain.audiences.evaluation import compile_audiences
from domain.audiences.explanation import Clause, explain
from domain.profiles import Profile, as_person
from domain.workspace import Workspace
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
    return Explained(position, _explained(audience, workspace, profile, now))


def explain_membership_then(
    engine: Engine, audience: str, said: str, place: str, change_of: ChangeOf
) -> Explained:
    """Explains it as it was at a position, or right before a time, by what was declared then.

    Raises `NobodyError`, `PlaceError` and `TooMuchPastError`.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        then = person_then(connection, said, place, change_of)
    declared = then.plans.declared()
    workspace = workspace_of((kind, name, declared[kind, name][0]) for kind, name in sorted(declared))
    return Explained(then.position, _explained(audience, workspace, then.profile, then.now))


def _explained(name: str, workspace: Workspace | None, profile: Profile, now: int) -> Clause:
    audiences = dict(workspace.audiences) if workspace is not None else {}
    if workspace is None or name not in audiences:
        known = ", ".join(sorted(audiences)) or "none"
        raise NobodyError(f"no audience '{name}' is declared; declared are: {known}")
    compiled = compile_audiences(audiences, workspace.traits, workspace.policies)
    return explain(audiences[name], compiled, as_person(profile), now)
