"""Audiences over all history at once: who belongs to which, at the pipeline's position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import duckdb
from sqlalchemy import Connection, Engine

from adapters.history.query import offer_history, offer_people, open_duckdb
from adapters.history.tables import History
from adapters.log.read import read_positions, read_sources
from adapters.projections.checkpoint import read_checkpoint
from domain.audiences.definition import Audience
from domain.audiences.sql.compiler import compile_audience
from domain.consent import NO_POLICIES, Policies
from domain.history import HistoryRow
from domain.mendable import Mendable
from domain.traits.definition import Trait
from runtime.definitions import Definitions
from runtime.history import PAGE_ROWS, history_rows
from runtime.pipeline import CHECKPOINT

#: What of the log is not in the lake yet is read into memory, at most so many positions of it.
MOST_TAIL: Final = 2_000_000

Progress = Callable[[str, float], None]


class HistoryBehindError(Mendable):
    """The lake is too far behind the log to be asked."""


@dataclass(frozen=True)
class Bulk:
    """The history up to `position`, at log time `now` (microseconds), ready to be asked. `ahead` says that the lake has
    records above that position too, which do not count. `connection` sees the projections as they are at it."""

    duck: duckdb.DuckDBPyConnection
    connection: Connection
    position: int
    now: int
    people: int
    ahead: bool

    def members(
        self,
        audiences: Mapping[str, Audience],
        name: str,
        traits: Mapping[str, Trait] = {},
        policies: Policies = NO_POLICIES,
    ) -> str:
        """The SQL of who is in an audience, one column `profile`. `traits` are those that may be asked for, `policies`
        say what holds of who has said nothing to a purpose."""
        upto = self.position if self.ahead else None
        query = compile_audience(audiences, name, self.now, upto, traits, policies)
        return query.sql(dialect="duckdb")


@contextmanager
def history_now(
    engine: Engine, definitions: Definitions, history: History, progress: Progress
) -> Iterator[Bulk]:
    """The history as of the pipeline's position, in one snapshot of the database.

    Raises `HistoryBehindError` where the lake lacks more than `MOST_TAIL` positions. `progress` is told what is
    done, from 0 to 1.
    """
    # The files are listed first: what is written meanwhile is in the tail as well, and passed over there.
    written, files = history.written(), history.files()
    with (
        open_duckdb() as duck,
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        position = read_checkpoint(connection, CHECKPOINT)
        start = min(min(written.values()), position)
        if position - start > MOST_TAIL:
            raise HistoryBehindError(
                f"the history in the lake is at position {start} and the pipeline at {position}: let"
                " `roundtrip history` catch up first"
            )
        progress("reading what is not in the lake yet", 0.0)
        tail = list(_tail(connection, definitions, start, position, progress))
        offer_history(duck, files, written, tail)
        progress("reading who is who", 0.0)
        people = offer_people(duck, connection)
        last = read_positions(connection, [position])
        ahead = max(written.values()) > position
        yield Bulk(duck, connection, position, last[0].recorded_at if last else 0, people, ahead)


def _tail(
    connection: Connection, definitions: Definitions, start: int, upto: int, progress: Progress
) -> Iterator[HistoryRow]:
    after = start
    while after < upto:
        rows, after = read_sources(connection, after, PAGE_ROWS, upto)
        yield from history_rows(connection, definitions, rows)
        progress("reading what is not in the lake yet", (after - start) / (upto - start))
