"""Connections that go out by runs: which of them are due."""

from __future__ import annotations

from sqlalchemy import Connection, Engine

from adapters.log.read import driver_of, read_head, read_positions
from adapters.projections.definitions import load_workspace
from domain.schedules import latest_due
from runtime.connection_runs import RunError, append_run, last_run


def begin_due_runs(engine: Engine, now: int) -> list[str]:
    """Begins the runs that are due; of those that were missed, or that had to wait for the run before, one is made up
    for. Their connections' names. Time is `now` (microseconds), or the log's where that is simulated."""
    begun = []
    with engine.begin() as connection:
        workspace = load_workspace(connection)
        if workspace is None:
            return []
        at = read_head(connection).recorded_at if workspace.clock == "simulated" else now
        due = {}
        for name, declared in workspace.connections.items():
            if declared.schedule:
                latest = latest_due(declared.schedule, declared.timezone, at)
                if latest is not None and latest > _done_until(connection, name):
                    due[name] = latest
    for name, latest in due.items():
        try:
            with engine.begin() as connection:
                append_run(connection, name, latest)
        except RunError:
            # The run before is under way; this one begins after it.
            continue
        begun.append(name)
    return begun


def _done_until(connection: Connection, name: str) -> int:
    """Up to which time the connection's schedule is done: its last run's, or since when it is declared as it is."""
    last = last_run(connection, name)
    [declared] = driver_of(connection).execute(
        "SELECT position FROM definition WHERE kind = 'connection' AND name = %s", (name,)
    ).fetchone() or [0]
    rows = read_positions(connection, [declared])
    since = rows[0].recorded_at if rows else 0
    return since if last is None else max(since, last.due)
