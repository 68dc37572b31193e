"""Where everything stands: the log's head, how far each reader has come, who is in which audience, and what
became of what was sent."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, text

from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.definitions import load_policies
from adapters.projections.outbound import count_by_status
from adapters.projections.people import load_consent, load_graph, load_profiles
from domain.profiles import consented
from runtime.effect import standing

READERS = ("pipeline", "relay")


def read_status(engine: Engine) -> dict[str, Any]:
    """A snapshot. `lag` is in rows of the log, `log_time` in RFC 3339."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        head = read_head(connection)
        positions = {name: read_checkpoint(connection, name) for name in READERS}
        sizes = connection.execute(text("SELECT audience, count(*) FROM membership GROUP BY 1 ORDER BY 1"))
        audiences = {audience: count for audience, count in sizes}  # noqa: C416
        profiles = connection.execute(text("SELECT count(*) FROM profile")).scalar()
        outbound = count_by_status(connection)
        workspace = standing(connection)
    log_time = datetime.datetime.fromtimestamp(head.recorded_at / 1_000_000, datetime.UTC)
    return {
        "log": {"position": head.position, "clock": head.clock, "log_time": log_time.isoformat()},
        "workspace": workspace,
        "readers": {n: {"position": p, "lag": head.position - p} for n, p in positions.items()},
        "profiles": profiles,
        "audiences": audiences,
        "outbound": outbound,
    }


def who_consents(engine: Engine, purpose: str, profiles: Collection[str]) -> set[str]:
    """Those of the profiles whose consent to this purpose holds now; with no purpose, those that were not erased."""
    with engine.connect() as connection:
        # A profile's id is a node of the graph, which leads to whatever that profile has become by merging.
        now = load_graph(connection, profiles)
        if not purpose:
            return set(now)
        consent = load_consent(connection, set(now.values()))
        said = {id: theirs[purpose].given for id, theirs in consent.items() if purpose in theirs}
        silent = consent.keys() - said.keys()
        if silent:
            policies = load_policies(connection)
            profiles_now = load_profiles(connection, silent)
            said |= {id: consented(one, purpose, policies) for id, one in profiles_now.items()}
    return {asked for asked, id in now.items() if said.get(id, False)}
