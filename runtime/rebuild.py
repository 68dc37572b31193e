"""Rebuilding: the projections folded again from the log alone, beside the live ones, and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import Connection, Engine, text

from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from adapters.projections.digest import Digest, digest, first_difference
from adapters.projections.schema import REBUILT, metadata
from runtime.definitions import Definitions
from runtime.pipeline import CHECKPOINT, Pipeline

SCHEMA: Final = "roundtrip_rebuild"


class Comparison(NamedTuple):
    """One projection, live and rebuilt. `difference` names the first row in which they part."""

    projection: str
    live: Digest
    rebuilt: Digest
    difference: str

    @property
    def equal(self) -> bool:
        return self.live == self.rebuilt


def rebuild(
    engine: Engine, shadow: Engine, definitions: Definitions, progress: Callable[[int, int], None]
) -> int:
    """Folds the log into tables beside the live ones; the position it came to.

    `shadow` looks names up in schema `SCHEMA` first. `progress` is told the position and the goal.
    """
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        metadata.create_all(connection.execution_options(schema_translate_map={None: SCHEMA}))
    with engine.connect() as connection:
        goal = read_head(connection).position
    pipeline = Pipeline(shadow, definitions, live=False)
    progress(0, goal)
    while pipeline.turn(goal):
        progress(pipeline.position, goal)
    return pipeline.position


def verify(
    engine: Engine, shadow: Engine, definitions: Definitions, progress: Callable[[int, int], None]
) -> list[Comparison]:
    """Rebuilds, lets both come to the same position, and compares them.

    The live pipeline may be running: the comparison takes one snapshot in which both stand at one
    position, going after the live one as long as it moves on.
    """
    rebuild(engine, shadow, definitions, progress)
    pipeline = Pipeline(shadow, definitions, live=False)
    while True:
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            live = read_checkpoint(connection, CHECKPOINT)
            ours = (
                connection.execute(
                    text(f"SELECT position FROM {SCHEMA}.checkpoint WHERE name = :name"),  # noqa: S608
                    {"name": CHECKPOINT},
                ).scalar()
                or 0
            )
            if ours == live:
                return [_compare(connection, table.name) for table in REBUILT]
        pipeline.turn(live)


def drop_shadow(engine: Engine) -> None:
    """Removes the tables that a rebuild has made."""
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))


def _compare(connection: Connection, name: str) -> Comparison:
    live = digest(connection, "public", name)
    rebuilt = digest(connection, SCHEMA, name)
    difference = "" if live == rebuilt else first_difference(connection, "public", SCHEMA, name)
    return Comparison(name, live, rebuilt, difference)
