"""One step of the pipeline: a batch of the log and the state it meets → new state and derived records.

Pure: the same rows on the same state give the same result, live and in a rebuild. State at a position is
a function of the log up to it: before a row is applied, every timer that fell due by the row's log time
has fired, in order of its due time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from domain.fold import Fold
from domain.set_aside import NotAppliedError, reason_of
from domain.state import Inbound, Outcome, Plan, State


def apply(fold: Fold, row: Inbound) -> None:
    """Takes one row in. Raises `NotAppliedError` where that cannot be done, whatever the reason; the fold's state is
    then of no more use."""
    try:
        fold.apply(row)
    except MemoryError:
        raise
    except Exception as error:
        raise NotAppliedError(row.position, reason_of(error)) from error


def step(plan: Plan, rows: Sequence[Inbound], state: State) -> Outcome:
    """Applies rows in log order. `state` holds what the rows can touch, and is changed in place.

    Raises `NotAppliedError` of the first row that cannot be applied.
    """
    times = [row.recorded_at for row in rows]
    fold = Fold(plan, state, lambda at: rows[bisect_left(times, at)].position)
    for row in rows:
        apply(fold, row)
    fold.fire(times[-1])
    return fold.outcome()
