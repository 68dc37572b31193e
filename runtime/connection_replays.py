"""Replays of a connection: asking for one, and counting what it would send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from adapters.log.append import append
from adapters.log.read import driver_of, read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.replays import replay_entry, stream_of
from domain.routing import Destination
from domain.state import Plan
from runtime.bulk import RAN
from runtime.bulk_replay import Replay, count, why_not
from runtime.connection_runs import RunError
from runtime.definitions import plan_of
from runtime.log_tail import place_of
from runtime.pipeline import CHECKPOINT
from runtime.profiles import log_time


class WouldReplay(NamedTuple):
    """What a replay of what stands at `since` or behind it would send as of a position: how many records by their
    change, and how many would be passed over by the reason."""

    since: int
    position: int
    changes: Mapping[str, int]
    passed_over: Mapping[str, int]


def ask_for_replay(engine: Engine, name: str, place: str) -> int:
    """Has the connection tell again what it was to tell since a place in the log; the replay's position. Raises
    `RunError` and `PlaceError`."""
    with engine.begin() as connection:
        # Nobody else asks at the same time.
        driver_of(connection).execute("SELECT position FROM log_head FOR UPDATE")
        _destination(connection, name)
        since = _since(connection, place)
        version, position = _last(connection, name)
        at = read_checkpoint(connection, CHECKPOINT)
        if at < (max(position, read_checkpoint(connection, RAN)) if position else 0):
            raise RunError(
                f"the replay of '{name}' at position {position} is under way: the pipeline is at {at}"
            )
        return append(connection, [replay_entry(name, version + 1, since)]).last_position


def preview_replay(engine: Engine, name: str, place: str) -> WouldReplay:
    """What a replay now would send, as of the pipeline's position. Nothing is written. Raises `RunError` and
    `PlaceError`."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        plan, destination = _destination(connection, name)
        since, position = _since(connection, place), read_checkpoint(connection, CHECKPOINT)
        replay = Replay(name, since, position + 1, log_time(connection))
        changes, passed_over = count(connection, plan, destination, replay)
    return WouldReplay(since, position, changes, passed_over)


def _destination(connection: Connection, name: str) -> tuple[Plan, Destination]:
    workspace = load_workspace(connection)
    plan = plan_of(workspace)
    destination = plan.destination(name)
    if destination is None:
        known = ", ".join(sorted(workspace.connections if workspace is not None else {})) or "none"
        raise RunError(f"no connection '{name}'; declared are: {known}")
    if refused := why_not(destination):
        raise RunError(f"connection '{name}' {refused}")
    return plan, destination


def _since(connection: Connection, place: str) -> int:
    since, head = max(place_of(connection, place), 1), read_head(connection).position
    if since > head:
        raise RunError(f"the log ends at position {head:,}, before {place}: there is nothing to replay")
    return since


def _last(connection: Connection, name: str) -> tuple[int, int]:
    """The version and position of the connection's last replay, zeros where it has had none."""
    found = driver_of(connection).execute(
        "SELECT version, position FROM log_stream WHERE stream_id = %s ORDER BY version DESC LIMIT 1",
        (stream_of(name),),
    )
    version, position = found.fetchone() or (0, 0)
    return int(version), int(position)
