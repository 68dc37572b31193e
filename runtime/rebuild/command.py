"""What a rebuild is for: tables in the live ones' place, a comparison with them, or the state at a position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine

from adapters.database import open_database
from adapters.log.read import driver_of
from adapters.projections.shadow import drop_shadow
from runtime.definitions import Definitions
from runtime.pipeline import Pipeline
from runtime.rebuild.chase import at_one_position, chaser
from runtime.rebuild.compare import Comparison, Followed, compare_followed, compare_tables
from runtime.rebuild.errors import ErasedMeanwhileError
from runtime.rebuild.parting import History, Parting, first_parting, scan_tail
from runtime.rebuild.run import PEOPLE, Progress, Task, discard, erasures, fold_log
from runtime.rebuild.store import Store
from runtime.rebuild.switch import switch
from runtime.rebuild.work import PROJECTIONS, SCHEMA, Setting, changes_of

Result = TypeVar("Result")


class Verified(NamedTuple):
    """What a comparison found. `parting` says who of those that differ parts first, and where."""

    tables: Sequence[Comparison]
    followed: Followed | None
    parting: Parting | None


def rebuild_live(engine: Engine, task: Task, definitions: Definitions, progress: Progress) -> int:
    """Rebuilds projections and puts them in the live ones' place; the position at which that was."""

    def go_on(setting: Setting, _: Store, pipeline: Pipeline) -> int:
        beyond = _beyond(setting.goal, progress)
        return switch(engine, pipeline, task.projections, _unerased(setting), beyond)

    return _rebuilt(engine, task, definitions, progress, go_on)


def verify_live(engine: Engine, task: Task, definitions: Definitions, progress: Progress) -> Verified:
    """Rebuilds projections and compares them with the live ones, at one position of a log that may grow."""
    task = task._replace(comparing=True)

    def go_on(setting: Setting, store: Store, pipeline: Pipeline) -> Verified:
        with at_one_position(engine, pipeline, _beyond(setting.goal, progress)) as connection:
            _unerased(setting)(connection)
            tables = compare_tables(connection, task.projections)
            people = any(name in PEOPLE for name in task.projections)
            followed = compare_followed(connection, setting.goal) if people else None
            parting = None
            if not all(one.equal for one in tables):
                tail = scan_tail(connection, setting.goal, pipeline.position, definitions.change_of)
                history = History(setting, store, changes_of(store), tail)
                parting = first_parting(connection, history, tables)
        return Verified(tables, followed, parting)

    return _rebuilt(engine, task, definitions, progress, go_on)


def rebuild_as_of(engine: Engine, task: Task, definitions: Definitions, progress: Progress) -> str:
    """Folds the state at a position into a schema of its own; its name. One that is there is replaced."""
    schema = f"roundtrip_as_of_{task.goal}"

    def go_on(setting: Setting, _: Store, __: Pipeline) -> str:
        with engine.begin() as connection:
            _unerased(setting)(connection)
            drop_shadow(connection, schema)
            driver = driver_of(connection)
            left_out = [name for name in PROJECTIONS if name not in task.projections]
            for table in ("checkpoint", "rebuild", "rebuilt_shard", "followed", *left_out):
                driver.execute(SQL("DROP TABLE {}").format(Identifier(SCHEMA, table)))
            driver.execute(SQL("ALTER SCHEMA {} RENAME TO {}").format(Identifier(SCHEMA), Identifier(schema)))
        return schema

    return _rebuilt(engine, task, definitions, progress, go_on)


def _rebuilt(
    engine: Engine,
    task: Task,
    definitions: Definitions,
    progress: Progress,
    go_on: Callable[[Setting, Store, Pipeline], Result],
) -> Result:
    """Folds the log, goes on with what it was for, and removes what is left. Anew where somebody was erased."""
    while True:
        setting, store = fold_log(engine, task, definitions, progress)
        try:
            with _chasing(task, definitions) as pipeline:
                result = go_on(setting, store, pipeline)
        except ErasedMeanwhileError:
            discard(engine, store)
            continue
        discard(engine, store)
        return result


def _unerased(setting: Setting) -> Callable[[Connection], None]:
    def check(connection: Connection) -> None:
        if erasures(connection) != setting.erasures:
            raise ErasedMeanwhileError("somebody was erased while the log was folded; begin anew")

    return check


@contextmanager
def _chasing(task: Task, definitions: Definitions) -> Iterator[Pipeline]:
    shadow = open_database(task.url, application="rebuild", keys=task.keys, schema=SCHEMA)
    try:
        yield chaser(shadow, definitions)
    finally:
        shadow.dispose()


def _beyond(goal: int, progress: Progress) -> Callable[[int], None]:
    return lambda position: progress(max(position, goal), max(position, goal))
