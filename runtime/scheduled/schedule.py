"""`roundtrip schedule`: begins what is due, imports and connections' runs. One process leads, further ones stand by.

What has begun and not ended, since its process was killed, is begun again: files and queries go on where their
last batch was committed.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Final

import structlog
from sqlalchemy import text

from adapters.database import STORE_ERRORS, kind_of
from adapters.import_runs import Run, SupersededError, done_until, end_run, unfinished_runs
from adapters.projections.definitions import load_workspace
from domain.imports import run_due
from domain.tracking_plan import plans_of_feeds
from domain.workspace import Workspace
from runtime.scheduled.connections import begin_due_runs
from runtime.scheduled.run import ImportBusyError, Place, now, run_declared

#: How often the clock is looked at, in seconds.
LOOK_S: Final = 1.0
#: Imports that run at the same time.
AT_ONCE: Final = 4
_LEAD: Final = 0x73636865

log = structlog.get_logger("schedule")


def is_scheduled(workspace: Workspace) -> bool:
    """Whether the workspace declares anything for this part."""
    imports, connections = workspace.imports.values(), workspace.connections.values()
    return any(one.schedule for one in imports) or any(one.schedule for one in connections)


def run_schedule(place: Place, stop: Event) -> None:
    """Leads until `stop`; what has begun is waited for."""
    with place.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lead:
        while not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEAD}).scalar():
            if stop.wait(LOOK_S):
                return
        log.info("schedule leads")
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="import") as threads:
            running: dict[str, Future[Run]] = {}
            while not stop.is_set():
                # A connection that is lost has lost the lead: the error ends this process.
                lead.execute(text("SELECT 1"))
                _reap(running)
                for name, due, workspace in _due(place, running):
                    plan = plans_of_feeds(workspace.tracking_plans).get(workspace.imports[name].feed)
                    declared = workspace.imports[name]
                    running[name] = threads.submit(run_declared, place, name, declared, plan, due)
                begin_due_runs(place.engine, now())
                stop.wait(LOOK_S)


def _due(place: Place, running: dict[str, Future[Run]]) -> list[tuple[str, int, Workspace]]:
    """What has to begin now: first what was begun and not ended."""
    found: dict[str, int] = {}
    with place.engine.begin() as connection:
        workspace = load_workspace(connection)
        if workspace is None:
            return []
        at = now()
        for run in unfinished_runs(connection):
            if run.name in running:
                continue
            if run.name in workspace.imports:
                found[run.name] = run.due
            else:
                reason = "the workspace declares this import no longer"
                end_run(connection, run._replace(ended_at=at, outcome="failed", reason=reason))
        for name, declared in workspace.imports.items():
            if declared.schedule and name not in running and name not in found:
                due = run_due(declared, done_until(connection, name, declared.schedule, at), at)
                if due is not None:
                    found[name] = due
    return [(name, due, workspace) for name, due in found.items()]


def _reap(running: dict[str, Future[Run]]) -> None:
    for name, future in list(running.items()):
        if not future.done():
            continue
        del running[name]
        try:
            run = future.result()
            log.info("import ended", name=name, outcome=run.outcome, taken=run.taken, rejected=run.rejected)
        except (ImportBusyError, SupersededError):
            # Somebody runs it by hand.
            continue
        except STORE_ERRORS as error:
            log.warning("the store does not answer", name=name, error=kind_of(error))
        except Exception as error:  # noqa: BLE001
            # A fault of ours in one import must not end the others; its text may hold data.
            log.error("import broke", name=name, error=type(error).__name__)
