"""From the goal on, with a log that grows: the rebuilt tables go after the live ones by the pipeline itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine

from adapters.log.read import driver_of, read_rows
from adapters.projections.checkpoint import find_checkpoint, read_checkpoint
from domain.records import Entry, Row
from runtime.bulk import RUNNING
from runtime.definitions import Definitions
from runtime.effect import SETTLING
from runtime.pipeline import CHECKPOINT, Pipeline
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.fold import Lone, digest_of, lone_of
from runtime.rebuild.scan import COMPARED
from runtime.rebuild.work import SCHEMA, write_followed

#: So far behind the live tables it is worth locking them to catch up.
NEAR: Final = 2_000
_PAGE: Final = 5_000
#: How often, and how long each time, a comparison waits for the live tables to stand at one position.
_TRIES: Final = 10_000
_WAIT_S: Final = 0.1


def chaser(shadow: Engine, definitions: Definitions) -> Pipeline:
    """A pipeline on the rebuilt tables. `shadow` looks names up in `SCHEMA` first."""
    return Pipeline(shadow, definitions, follow=_note)


def _note(connection: Connection, entries: Sequence[Entry]) -> None:
    write_followed(connection, [lone_of(entry) for entry in entries if entry.topic.startswith(COMPARED)])


def live_position(connection: Connection) -> int:
    """Where the live pipeline stands."""
    return read_checkpoint(connection, CHECKPOINT)


def settling(connection: Connection) -> bool:
    """Whether a workspace is taking effect or a connection has a run: the live tables are then between positions."""
    return any(find_checkpoint(connection, name) is not None for name in (SETTLING, RUNNING))


def rebuilt_position(connection: Connection) -> int:
    """Where the rebuilt tables stand."""
    row = (
        driver_of(connection)
        .execute(
            f"SELECT position FROM {SCHEMA}.checkpoint WHERE name = %s",  # noqa: S608
            (CHECKPOINT,),
        )
        .fetchone()
    )
    return int(row[0]) if row else 0


def catch_up(pipeline: Pipeline, upto: int, progress: Callable[[int], None]) -> None:
    """Takes in everything up to a position."""
    while pipeline.position < upto and pipeline.turn(upto):
        progress(pipeline.position)


@contextmanager
def at_one_position(
    engine: Engine, pipeline: Pipeline, progress: Callable[[int], None]
) -> Iterator[Connection]:
    """A snapshot in which live and rebuilt tables stand at one position: going after the live ones as long as
    they move on. Nobody is held up."""
    for _ in range(_TRIES):
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            live = live_position(connection)
            between = settling(connection)
            if rebuilt_position(connection) == live and not between:
                yield connection
                return
        catch_up(pipeline, live, progress)
        if between:
            time.sleep(_WAIT_S)
    raise RebuildError(
        "a workspace has been taking effect, or a connection running, all the time;"
        " where no pipeline runs, `roundtrip pipeline` goes on with it"
    )


def logged_after(connection: Connection, position: int) -> Iterator[list[Lone]]:
    """The derived records that the log has above a position, page by page, to be met by those derived again."""
    while rows := read_rows(connection, position, _PAGE):
        position = rows[-1].position
        yield [_logged(row) for row in rows if row.topic.startswith(COMPARED) and row.state]


def _logged(row: Row) -> Lone:
    return Lone(row.stream_id, True, row.topic, row.subject or "", row.position, digest_of(row.state))
