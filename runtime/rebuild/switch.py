"""Putting the rebuilt tables in the live ones' place, while the log grows and the pipeline is at work.

The pipeline holds its tables from a batch's first look to its commit. Whoever has them alone therefore stands
between two batches: the checkpoint says up to where the live tables are, and the rebuilt ones are brought there.
The next batch finds tables that stand where it left off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from psycopg import errors
from sqlalchemy import Connection, Engine

from adapters.projections.shadow import DependentError, lock_live, put_in_place
from runtime.failpoints import failpoint
from runtime.pipeline import Pipeline
from runtime.rebuild.chase import NEAR, catch_up, live_position, settling
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.work import SCHEMA

#: Others wait at most so long for the tables, in seconds, before it is tried again.
_PATIENCE: Final = 2.0
_TRIES: Final = 30
#: The order in which the pipeline takes its tables.
_ORDER: Final = ("definition", "profile", "identity", "membership", "outbound")


def switch(
    engine: Engine,
    pipeline: Pipeline,
    projections: Sequence[str],
    check: Callable[[Connection], None],
    progress: Callable[[int], None],
) -> int:
    """Switches these projections over, in one transaction; the position at which that was.

    `check` is called while nobody else has the tables. Raises `RebuildError` where others hold them all the
    time, or something hangs on them.
    """
    tables = [name for name in _ORDER if name in projections]
    for _ in range(_TRIES):
        _come_near(engine, pipeline, progress)
        try:
            with engine.begin() as connection:
                lock_live(connection, _ORDER, _PATIENCE)
                check(connection)
                if settling(connection):
                    continue
                live = live_position(connection)
                catch_up(pipeline, live, progress)
                put_in_place(connection, SCHEMA, tables)
                failpoint("rebuild.before_switch")
            return live
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            continue
        except DependentError as error:
            raise RebuildError(str(error)) from error
    raise RebuildError(
        f"the tables were in use at each of {_TRIES} tries to switch them over; end what reads them for long"
    )


def _come_near(engine: Engine, pipeline: Pipeline, progress: Callable[[int], None]) -> None:
    while True:
        with engine.connect() as connection:
            live = live_position(connection)
        catch_up(pipeline, live, progress)
        with engine.connect() as connection:
            if live_position(connection) - pipeline.position <= NEAR:
                return
