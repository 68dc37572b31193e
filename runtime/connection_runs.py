"""Runs of a connection: asking for one, waiting until the pipeline has done it, and counting what it would send."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine

from adapters.log.append import append
from adapters.log.read import driver_of, read_positions, read_rows
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.mendable import Mendable
from domain.messages import RoutingWithheld
from domain.outbound import Outbound
from domain.runs import Run, decode_run, run_entry, stream_of
from domain.workspace import Workspace
from runtime.bulk import RAN, gathered_after, looked_at
from runtime.definitions import Definitions, plan_of
from runtime.leading import lead_alone
from runtime.pipeline import CHECKPOINT
from runtime.profiles import log_time
from runtime.requested import wait_for

_PAGE: Final = 5_000
_decode = msgspec.json.Decoder(Outbound).decode
_why_not = msgspec.json.Decoder(RoutingWithheld).decode


class RunError(Mendable):
    """A connection has no run now. The message says why, and what to do."""


class LastRun(NamedTuple):
    """A connection's last run: its version among them, its position, and when it was due (microseconds)."""

    version: int
    position: int
    due: int


class WouldSend(NamedTuple):
    """What a run would send as of a position: how many records by their change, and how many people would be withheld
    by the reason."""

    position: int
    changes: Mapping[str, int]
    withheld: Mapping[str, int]


def ask_for_run(engine: Engine, name: str) -> int:
    """Has the connection send what is due; the run's position. Raises `RunError`."""
    with engine.begin() as connection:
        return append_run(connection, name, time.time_ns() // 1_000)


def append_run(connection: Connection, name: str, due: int) -> int:
    """Appends a run; its position. Raises `RunError` where the connection has no runs, or the one before is not over:
    what changes meanwhile goes into the next one."""
    # Nobody else does at the same time.
    driver_of(connection).execute("SELECT position FROM log_head FOR UPDATE")
    _require_runs(load_workspace(connection), name)
    last = last_run(connection, name)
    if last is not None:
        _require_over(connection, name, last)
    return append(connection, [run_entry(name, last.version + 1 if last else 1, due)]).last_position


def last_run(connection: Connection, name: str) -> LastRun | None:
    """The connection's last run, `None` where it has had none."""
    found = (
        driver_of(connection)
        .execute(
            "SELECT version, position FROM log_stream WHERE stream_id = %s ORDER BY version DESC LIMIT 1",
            (stream_of(name),),
        )
        .fetchone()
    )
    if found is None:
        return None
    version, position = found
    [row] = read_positions(connection, [position])
    return LastRun(version, position, decode_run(row.state).due)


def _require_runs(workspace: Workspace | None, name: str) -> None:
    connections = workspace.connections if workspace is not None else {}
    if name not in connections:
        known = ", ".join(sorted(connections)) or "none"
        raise RunError(f"no connection '{name}'; declared are: {known}")
    if not connections[name].schedule:
        raise RunError(
            f"connection '{name}' sends as things come; one with a 'schedule' has runs (docs/reference/connections.md)"
        )


def _require_over(connection: Connection, name: str, last: LastRun) -> None:
    at = read_checkpoint(connection, CHECKPOINT)
    if at < max(last.position, read_checkpoint(connection, RAN)):
        raise RunError(
            f"the run of '{name}' at position {last.position} is under way: the pipeline is at {at}"
        )
    [open] = driver_of(connection).execute(
        "SELECT count(*) FROM outbound WHERE status = 'pending' AND position > %s AND connection = %s",
        (last.position, name),
    ).fetchone() or [0]
    if open:
        raise RunError(
            f"the run of '{name}' at position {last.position} is under way: {open:,} of its records have no outcome"
            " yet (`roundtrip status`)"
        )


def await_run(
    engine: Engine, definitions: Definitions, position: int, wait_s: float
) -> Mapping[str, int] | None:
    """How many records the run, or replay, at this position has made, by their change; `None` where no pipeline has
    come to its end within so many seconds. Where none runs, this process does the work."""

    def done() -> bool:
        with engine.connect() as connection:
            return read_checkpoint(connection, CHECKPOINT) >= position

    def led() -> bool:
        lead_alone(engine, definitions, done)
        return done()

    return _made(engine, position) if wait_for(led, wait_s) else None


def _made(engine: Engine, position: int) -> Counter[str]:
    made: Counter[str] = Counter()
    after = position
    with engine.connect() as connection:
        upto = read_checkpoint(connection, RAN)
        while rows := read_rows(connection, after, _PAGE, upto):
            for row in rows:
                if row.topic == "outbound.requested" and not row.erased:
                    one = _decode(row.state)
                    made[one.change] += position in (one.run, one.replayed) and one.change != "complete"
            after = rows[-1].position
    return +made


def preview_run(engine: Engine, name: str) -> WouldSend:
    """What a run now would send, as of the pipeline's position. Nothing is written. Raises `RunError`."""
    changes: Counter[str] = Counter()
    withheld: Counter[str] = Counter()
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        _require_runs(workspace, name)
        plan, position = plan_of(workspace), read_checkpoint(connection, CHECKPOINT)
        destination = plan.destination(name)
        assert destination is not None
        run = Run(name, position, log_time(connection))
        if destination.mode == "batch":
            last = last_run(connection, name)
            since = after = last.position if last is not None else 0
            while rows := gathered_after(connection, destination, after):
                changes["event"] += sum(_decode(r.state).cause > since for r in rows if not r.erased)
                after = rows[-1].position
        else:
            for page in looked_at(connection, plan, destination, run):
                changes.update(routed.change for _, _, routed in page.fold.telling.routed)
                withheld.update(_why_not(entry.state).reason for _, entry in page.fold.changes.derived)
    return WouldSend(position, +changes, withheld)
