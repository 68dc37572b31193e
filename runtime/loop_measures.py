"""How each loop does: what each hop sent, what came back and how soon, and what followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine

from adapters.log.read import driver_of
from adapters.projections.answers import funnel, orphans, time_between, times_of
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_workspace
from domain.loops import Hop, Loop
from runtime.answers import CHECKPOINT


def measure_loops(engine: Engine) -> dict[str, Any]:
    """Every declared loop, as of how far engagement has been tied to what was sent."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        workspace = load_workspace(connection)
        position = read_checkpoint(connection, CHECKPOINT)
        loops = {} if workspace is None else workspace.loops
        return {
            "position": position,
            "loops": {name: _measured(connection, loop) for name, loop in sorted(loops.items())},
        }


def _measured(connection: Connection, loop: Loop) -> dict[str, Any]:
    return {"hops": list(_hops(connection, loop.hops, None))}


def _hops(connection: Connection, hops: list[Hop], before: Hop | None) -> Iterator[dict[str, Any]]:
    """Each hop before those that go by what it brings back."""
    for hop in hops:
        found: dict[str, Any] = {"audience": hop.audience, "connection": hop.connection}
        found["members"] = _members(connection, hop.audience)
        found |= funnel(connection, hop.connection)
        delivered = found["records"].get("delivered", 0)
        if hop.feed is not None:
            found["feed"] = hop.feed
            found["returned"] = found["answered"] / delivered if delivered else None
            found["orphaned"] = orphans(connection, hop.feed)
        found["seconds"] = times_of(connection, hop.connection)
        if before is not None:
            found["after"] = before.connection
            if spread := time_between(connection, before.connection, hop.connection):
                found["seconds"]["answered_to_sent"] = spread
        yield found
        yield from _hops(connection, hop.then, hop)


def _members(connection: Connection, audience: str) -> int:
    row = (
        driver_of(connection)
        .execute("SELECT count(*) FROM membership WHERE audience = %s", (audience,))
        .fetchone()
    )
    return row[0] if row else 0
