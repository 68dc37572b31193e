"""What a loop is good for: who was told against who was held out, by what the history says that they did then."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlalchemy import Engine

from adapters.history.tables import History
from adapters.projections.answers import groups
from adapters.projections.definitions import load_workspace
from domain.lift import CONFIDENCE, Group, lift_of
from domain.loops import Loop, hops_of
from domain.workspace import Workspace
from runtime.audiences.bulk import Bulk, history_now
from runtime.definitions import Definitions
from runtime.errors import LoopError


def measure_lift(engine: Engine, definitions: Definitions, history: History, name: str) -> dict[str, Any]:
    """Of each hop of a loop whose audience has a holdout: how many of those told, and of those held out, have converted
    within the declared time, and the difference with its interval.

    Raises `LoopError` and `HistoryBehindError`.
    """
    with history_now(engine, definitions, history, lambda _, __: None) as bulk:
        workspace = load_workspace(bulk.connection)
        loop = _loop(workspace, name)
        if loop.conversion is None:
            raise LoopError(
                f"loop '{name}' does not say what it is for; write `conversion: {{event: Order Completed, within: 7d}}`"
            )
        assert workspace is not None
        found = []
        for hop in hops_of(loop):
            holdout = workspace.audiences[hop.audience].holdout
            if holdout:
                told, held = groups(bulk.connection, hop.connection)
                event, within = loop.conversion.event, loop.conversion.within
                treated, apart = _converted(bulk, told, event, within), _converted(bulk, held, event, within)
                lift = lift_of(treated, apart)
                found.append(
                    {
                        "audience": hop.audience,
                        "connection": hop.connection,
                        "holdout_percent": holdout,
                        "told": treated._asdict() | {"rate": treated.rate},
                        "held_out": apart._asdict() | {"rate": apart.rate},
                        "lift": None if lift is None else lift._asdict() | {"confidence": CONFIDENCE},
                    }
                )
    if not found:
        raise LoopError(
            f"nobody is held out of loop '{name}'; give an audience of it a `holdout`, as `holdout: 10`"
        )
    return {"loop": name, "position": bulk.position, "conversion": event, "hops": found}


def _converted(bulk: Bulk, people: list[tuple[str, int]], event: str, within: int) -> Group:
    """How many of these people did it within so many microseconds after their time."""
    profiles = pa.array([profile for profile, _ in people], pa.string())
    times = pa.array([at for _, at in people], pa.int64())
    bulk.duck.register("asked", pa.table({"profile": profiles, "at": times}))
    [(converted,)] = bulk.duck.execute(
        "SELECT count(DISTINCT a.profile) FROM asked a JOIN person p USING (profile) JOIN identity i USING (who)"
        " JOIN events e ON e.node = i.node WHERE e.name = ? AND e.position <= ?"
        " AND e.occurred_at > a.at AND e.occurred_at <= a.at + ?",
        [event, bulk.position, within],
    ).fetchall()
    bulk.duck.unregister("asked")
    return Group(len(people), converted)


def _loop(workspace: Workspace | None, name: str) -> Loop:
    loops = {} if workspace is None else workspace.loops
    if name not in loops:
        raise LoopError(f"loop '{name}' is not declared; declared are: {', '.join(sorted(loops)) or 'none'}")
    return loops[name]
