"""The pipeline: reads the log in order, and in one transaction a batch folds it into the projections,
appends what follows from it, and moves the checkpoint. A crash anywhere replays to the same state."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import psycopg
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from adapters.erasure import destroy_person, forget_deletions
from adapters.keys.management import KeyManagementError
from adapters.log.append import append
from adapters.log.read import DERIVED_TOPICS
from adapters.projections.checkpoint import LostLeadError, move_checkpoint, read_checkpoint
from adapters.projections.definitions import load_workspace
from adapters.projections.outbound import OUTCOME_TOPICS, apply_outbound
from adapters.projections.people import load_state, profiles_due, save
from adapters.quarantine import Quarantined, put_aside
from domain.configuration import TOPIC_PREFIX
from domain.erasure import REQUESTED, decode_request
from domain.records import Entry, Row, record_of
from domain.replays import REPLAY
from domain.runs import RUN
from domain.set_aside import UNREADABLE, NotAppliedError, entry_of_aside, put_aside_of, reason_of
from domain.settling import APPLIED
from domain.state import Closed, Inbound, Outcome, Plan, nodes_of
from domain.step import step
from domain.unmerge import REQUESTED as UNMERGE
from runtime.ahead import Ahead
from runtime.bulk import begin_running, run_on, running
from runtime.bulk_replay import begin_replaying, replay_on, replaying
from runtime.closing import closings, told_again
from runtime.definitions import Definitions, plan_of
from runtime.effect import begin, begun, settle
from runtime.failpoints import failpoint
from runtime.look_anew import Backfill
from runtime.reading import Reading
from runtime.unmerge import unmerge

CHECKPOINT: Final = "pipeline"
#: Rows of the log in one transaction. Larger batches cost latency and memory, and gain no more speed.
BATCH_ROWS: Final = 2_000
#: Profiles whose timers fire in one transaction.
BATCH_DUE: Final = 4_000
_INBOUND: Final = ("track.", "identify.", "page.", "screen.", "group.", "alias.")
#: Topics of rows that may take more than one batch.
_STAYING: Final = (APPLIED, RUN, REPLAY, UNMERGE)

log = structlog.get_logger("pipeline")


class Pipeline:
    """`follow` is where the records go that follow from a batch, in the batch's transaction. To a rebuild they
    are nothing new: what follows from the log is in the log already.

    A record that cannot be applied is left out: the batch is done again without it, and puts it into quarantine.
    """

    def __init__(
        self,
        engine: Engine,
        definitions: Definitions,
        *,
        follow: Callable[[Connection, Sequence[Entry]], object] = append,
        backfill: Backfill | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        self._engine = engine
        self._definitions = definitions
        self._follow = follow
        self._backfill = backfill
        self._ahead = ahead
        self._plan: Plan | None = None
        self.position = 0
        #: The row that takes more than one batch, while the pipeline stays in front of it.
        self._held: Row | None = None
        #: Why records of the batch to come cannot be applied, by position.
        self._apart: dict[int, str] = {}
        self._rows = BATCH_ROWS
        self._reading = Reading(engine)

    def turn(self, upto: int | None = None) -> int:
        """Takes in the next batch of the log, not above `upto`; how many rows that were, 0 at its end."""
        while True:
            try:
                taken = self._turn(upto)
            except NotAppliedError as error:
                if error.position in self._apart:
                    raise
                self._apart[error.position] = error.reason
                log.error("a record cannot be applied", position=error.position, reason=error.reason)
            except (
                SQLAlchemyError,
                psycopg.OperationalError,
                KeyManagementError,
                LostLeadError,
                OSError,
                MemoryError,
            ):
                raise
            except Exception as error:
                # Whose fault it is shows in a batch of one.
                if self._rows == 1:
                    raise
                self._rows = max(self._rows // 8, 1)
                log.warning("looking for a record that cannot be applied", reason=reason_of(error))
            else:
                self._apart.clear()
                self._rows = min(self._rows * 2, BATCH_ROWS)
                return taken

    def _turn(self, upto: int | None) -> int:
        with self._engine.begin() as connection:
            if self._plan is None:
                self._plan = plan_of(load_workspace(connection))
                self.position = read_checkpoint(connection, CHECKPOINT)
            if self._held is not None:
                # What comes in meanwhile is not read again with every batch.
                rows, end = [self._held], self._held.position
            else:
                rows, end = self._reading.rows(connection, (self.position, self._rows, upto))
            if not rows and end == self.position:
                return 0
            plan: Plan | None = self._plan
            if rows and rows[0].topic == APPLIED:
                if not begun(connection, rows[0]):
                    plan = None
                done = self._take_effect(connection, self._plan, rows[0])
                position = rows[0].position if done else self.position
            elif rows and rows[0].topic == RUN:
                done = self._run(connection, self._plan, rows[0])
                position = rows[0].position if done else self.position
            elif rows and rows[0].topic == REPLAY:
                done = self._replay(connection, self._plan, rows[0])
                position = rows[0].position if done else self.position
            elif rows and rows[0].topic == UNMERGE:
                position = self._unmerge(connection, self._plan, rows[0])
            else:
                if len(rows) == BATCH_ROWS:
                    self._reading.begin((end, BATCH_ROWS, upto))
                position = self._take_in(connection, self._plan, rows, end)
            failpoint("pipeline.before_checkpoint")
            move_checkpoint(connection, CHECKPOINT, self.position, position)
            failpoint("pipeline.before_commit")
        failpoint("pipeline.committed")
        stays = rows and rows[0].topic in _STAYING and position < rows[0].position
        self._held = rows[0] if stays else None
        self._plan, self.position = plan, position
        return len(rows) or 1

    def _take_effect(self, connection: Connection, plan: Plan, row: Row) -> bool:
        """Goes on with the workspace that takes effect at this row; true once it has."""
        if begun(connection, row):
            change_of = self._definitions.change_of
            return settle(connection, plan, row, change_of, self._follow, self._backfill, self._ahead)
        if profiles_due(connection, row.recorded_at, 1):
            self._fold(connection, plan, [row])
        else:
            begin(connection, row, self._definitions.change_of)
        return False

    def _run(self, connection: Connection, plan: Plan, row: Row) -> bool:
        """Goes on with the connection's run at this row; true once it is done."""
        if running(connection, row):
            return run_on(connection, plan, row, self._follow)
        if profiles_due(connection, row.recorded_at, 1):
            self._fold(connection, plan, [row])
        else:
            begin_running(connection, row)
        return False

    def _replay(self, connection: Connection, plan: Plan, row: Row) -> bool:
        """Goes on with the connection's replay at this row; true once it is done."""
        if replaying(connection, row):
            return replay_on(connection, plan, row, self._follow)
        if profiles_due(connection, row.recorded_at, 1):
            self._fold(connection, plan, [row])
        else:
            begin_replaying(connection, row)
        return False

    def _unmerge(self, connection: Connection, plan: Plan, row: Row) -> int:
        """Makes one person two, once what was due has happened; up to which position all is taken in."""
        if profiles_due(connection, row.recorded_at, 1):
            self._fold(connection, plan, [row])
            return self.position
        self._follow(connection, unmerge(connection, plan, row, self._definitions.change_of))
        return row.position

    def _take_in(self, connection: Connection, plan: Plan, rows: list[Row], end: int) -> int:
        """Folds the rows up to where a workspace takes effect, somebody is unmerged or a connection has a run or
        replay. Definitions wait for the first. Returns up to which position all is taken in; `end` is the rows' own."""
        stop = next((row.position for row in rows if row.topic in (APPLIED, UNMERGE, RUN, REPLAY)), None)
        if stop is not None:
            rows, end = [row for row in rows if row.position < stop], stop - 1
        rows = [row for row in rows if not row.topic.startswith(TOPIC_PREFIX)]
        if not rows:
            return end
        taken, own = self._fold(connection, plan, rows)
        if len(taken) == len(rows):
            # What it has itself derived right behind the rows is not read again.
            return own[-1] if own and own[0] == end + 1 else end
        return taken[-1].position if taken else self.position

    def _fold(self, connection: Connection, plan: Plan, rows: list[Row]) -> tuple[list[Row], range]:
        """Folds rows, and returns which, fewer where very many timers fall due among them; and the positions of what
        was derived from them, where that alone was appended."""
        # What follows an erasure is read by the keys that it leaves.
        rows = rows[: next((i for i, r in enumerate(rows, 1) if r.topic == REQUESTED), len(rows))]
        due = profiles_due(connection, rows[-1].recorded_at, BATCH_DUE)
        taken = rows
        if len(due) == BATCH_DUE:
            taken = rows[: bisect_left([row.recorded_at for row in rows], due[-1][1])]
        closed = closings(connection, taken) if plan.channels else {}
        inbound = [_inbound(row, plan, self._apart, closed.get(row.position)) for row in (taken or rows[:1])]
        if not taken:
            inbound[0] = inbound[0]._replace(record=None, erase=None)
        state = load_state(connection, nodes_of(inbound), {profile for profile, _ in due})
        outcome = step(plan, inbound, state)
        try:
            save(connection, state, outcome)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if len(inbound) > 1:
                raise
            raise NotAppliedError(inbound[0].position, reason_of(error)) from error
        apply_outbound(connection, taken)
        own = range(0)
        if self._follow is append:
            own = self._append(connection, taken, outcome)
            self._put_aside(connection, taken)
        elif outcome.entries:
            self._follow(connection, outcome.entries)
        return taken, own

    def _put_aside(self, connection: Connection, taken: list[Row]) -> None:
        """Tells the log and the quarantine of what was left out."""
        told = []
        for row in taken:
            if row.position in self._apart:
                one = put_aside_of(row, _feed_of(row), self._apart[row.position])
                told.append(entry_of_aside(one))
                item = Quarantined(
                    one.id, one.feed, one.code, one.reason, {}, b"", row.recorded_at, row.position
                )
                put_aside(connection, item)
        if told:
            append(connection, told)

    def _append(self, connection: Connection, taken: list[Row], outcome: Outcome) -> range:
        """Appends what follows, and then destroys the keys of whom it erased, and of deletions that are done. Returns
        the positions of what was appended where all of that is derived."""
        entries = [*outcome.entries, *(entry for erasure in outcome.erased for entry in erasure.entries)]
        last, own = 0, range(0)
        if entries:
            failpoint("pipeline.before_append")
            appended, last, _ = append(connection, entries)
            if all(one.topic.startswith(DERIVED_TOPICS) for one in entries) and appended[0].new:
                own = range(appended[0].position, last + 1)
        for erasure in outcome.erased:
            destroy_person(connection, erasure, last)
            self._reading.drop()
            failpoint("pipeline.erased")
        forget_deletions(connection, [row for row in taken if row.topic in OUTCOME_TOPICS])
        return own


def _inbound(row: Row, plan: Plan, apart: Collection[int], closed: Closed | None) -> Inbound:
    said = row.topic.startswith(_INBOUND) and not row.erased and row.position not in apart
    try:
        record = plan.rules.understood(record_of(row.state)) if said else None
    except Exception as error:
        raise NotAppliedError(row.position, reason_of(error)) from error
    erase = decode_request(row.state) if row.topic == REQUESTED else None
    told = told_again(row) if not row.erased else None
    return Inbound(row.position, row.recorded_at, record, row.subject, erase, closed, told)


def _feed_of(row: Row) -> str:
    try:
        return record_of(row.state).feed
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE


def drain(pipeline: Pipeline, upto: int) -> Sequence[int]:
    """Takes in everything up to a position; the batch sizes."""
    sizes = []
    while size := pipeline.turn(upto):
        sizes.append(size)
    return sizes
