"""Audiences for programs: which there are, who is or was in one, and why."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, text

from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.audiences.explanation import Clause
from runtime.audiences.explain import explain_membership, explain_membership_then
from runtime.past import ChangeOf
from runtime.pipeline import CHECKPOINT
from runtime.profiles import NobodyError
from runtime.times import written

#: Before every profile.
_FIRST: Final = "00000000-0000-0000-0000-000000000000"


def show_audiences(engine: Engine) -> dict[str, Any]:
    """Every declared audience with its size, as of a position."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        sizes = {
            row.audience: row.size
            for row in connection.execute(
                text("SELECT audience, count(*) AS size FROM membership GROUP BY 1")
            )
        }
        position = read_checkpoint(connection, CHECKPOINT)
    declared = workspace.audiences if workspace else {}
    return {
        "position": position,
        "audiences": {name: {"members": sizes.get(name, 0)} for name in sorted(declared)},
    }


def show_members(engine: Engine, name: str, after: str, limit: int) -> dict[str, Any]:
    """A page of who is in an audience now, by profile id, after one where it is given. `next` is the id to ask for
    the page after it by. Raises `NobodyError` where there is no such audience."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        declared = workspace.audiences if workspace else {}
        if name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            raise NobodyError(f"no audience '{name}' is declared; declared are: {known}")
        rows = connection.execute(
            text(
                "SELECT profile::text, position, entered_at FROM membership WHERE audience = :name"
                " AND profile > CAST(:after AS uuid) ORDER BY profile LIMIT :limit"
            ),
            {"name": name, "after": after or _FIRST, "limit": limit + 1},
        ).all()
        position = read_checkpoint(connection, CHECKPOINT)
    members = [
        {"profile": row.profile, "position": row.position, "entered_at": written(row.entered_at)}
        for row in rows[:limit]
    ]
    found: dict[str, Any] = {"position": position, "audience": name, "members": members}
    return found | ({"next": members[-1]["profile"]} if len(rows) > limit else {})


def show_explained(
    engine: Engine, name: str, said: str, place: str | None, change_of: ChangeOf
) -> dict[str, Any]:
    """Why whoever `KIND:VALUE` names is in an audience or not, now or at a position or a time.

    Raises `NobodyError`, `PlaceError` and `TooMuchPastError`.
    """
    if place is None:
        found = explain_membership(engine, name, said)
    else:
        found = explain_membership_then(engine, name, said, place, change_of)
    told: dict[str, Any] = {"position": found.position, "audience": name, "member": found.clause.holds}
    if found.clause.change:
        told["change"] = found.clause.change
    return told | {"why": _clause(found.clause)}


def _clause(clause: Clause) -> dict[str, Any]:
    said: dict[str, Any] = {"clause": clause.text, "holds": clause.holds, "value": clause.value}
    if clause.because:
        said["because"] = list(clause.because)
    if clause.due is not None:
        said["may_change_at"] = written(clause.due)
    return said | ({"parts": [_clause(part) for part in clause.parts]} if clause.parts else {})
