"""The history of the conditions that new or edited audiences have, from the lake in bulk.

What a condition remembers is a mergeable fold: it takes in at once what the lake has up to a position, and the rest
from the log (docs/decisions/0250-history-in-bulk.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final
from uuid import UUID

import duckdb
import pyarrow as pa
import structlog
from deltalake.exceptions import DeltaError
from sqlalchemy import Connection

from adapters.history.query import EVERYBODY, offer_history, offer_people, open_duckdb
from adapters.history.states import States
from adapters.history.tables import History
from adapters.projections.people import load_all_gone
from domain.audiences.evaluation import OwnLeaf
from domain.profiles import Profile

#: What goes wrong with a lake. Then the log is read.
BROKEN: Final = (DeltaError, duckdb.Error, OSError)

log = structlog.get_logger("pipeline")


class LakeBackfill:
    """Reads a lake, of the people from one id to another. What is read is held, outside of memory where it is much,
    until `close`."""

    def __init__(self, history: History, between: tuple[UUID, UUID] = EVERYBODY) -> None:
        self._history = history
        self._between = between
        self._open: tuple[int, duckdb.DuckDBPyConnection, States] | None = None
        self._stack = ExitStack()

    def reach(self) -> int:
        """The position up to which the lake has every event; 0 where there is none that can be read."""
        try:
            return self._history.written()["events"]
        except BROKEN as error:
            log.warning("the lake cannot be read", error=type(error).__name__)
            return 0

    def fold(
        self,
        connection: Connection,
        leaves: Sequence[OwnLeaf],
        upto: int,
        profiles: Mapping[str, Profile],
    ) -> bool:
        """Folds what these people did up to a position into these conditions; whether the lake could be read. The
        people are all those there are from the least of their ids to the greatest."""
        try:
            duck, states = self._opened(connection, leaves, upto)
        except BROKEN as error:
            log.warning("the lake cannot be read, the log is", error=type(error).__name__)
            self.close()
            return False
        people = [min(profiles), max(profiles)]
        numbered = duck.execute(
            "SELECT who, profile FROM person WHERE profile BETWEEN ? AND ?", people
        ).fetchall()
        conditions = {who: profiles[profile].conditions for who, profile in numbered}
        if conditions:
            for who, leaf, state in states.between(min(conditions), max(conditions)):
                held = conditions[who].get(leaf.id)
                conditions[who][leaf.id] = state if held is None else leaf.merge(held, state)
        return True

    def close(self) -> None:
        """Lets go of what was read."""
        self._stack.close()
        self._open = None

    def _opened(
        self, connection: Connection, leaves: Sequence[OwnLeaf], upto: int
    ) -> tuple[duckdb.DuckDBPyConnection, States]:
        if self._open is None or self._open[0] != upto:
            self.close()
            # The files are listed last: they have all that is written before.
            written, files = self._history.written(), self._history.files()
            if written["events"] < upto:
                raise duckdb.IOException(f"the lake has come to {written['events']} only")
            duck = self._stack.enter_context(open_duckdb())
            offer_history(duck, files, written, [])
            offer_people(duck, connection, self._between)
            gone = load_all_gone(connection)
            node, before = pa.array(gone.keys(), pa.string()), pa.array(gone.values(), pa.int64())
            duck.register("gone", pa.table({"node": node, "before": before}))
            self._open = upto, duck, States(duck, leaves, upto)
        return self._open[1:]
