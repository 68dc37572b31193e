"""What the pipeline does where it comes to a request to unmerge."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from sqlalchemy import Connection

from adapters.log.read import read_positions
from adapters.projections.people import load_graph, load_profiles, load_state, save
from adapters.projections.subjects import positions_of
from adapters.quarantine import left_out
from domain.fold import Fold
from domain.profiles import nodes
from domain.records import Entry, Row
from domain.state import Plan
from domain.unmerge import Place, decode_request
from runtime.past import INBOUND, AskedLog, ChangeOf, plans_upto
from runtime.rebuild.unmerge import PastRow, fold_apart

#: Rows that are in memory at once.
_PAGE: Final = 2_000
#: Positions that are looked up at once: of every row of a person, also of those that follow from records.
_PLACES: Final = 1_000_000


def unmerge(connection: Connection, plan: Plan, row: Row, change_of: ChangeOf) -> list[Entry]:
    """Does what the request in this row asks, within the connection's transaction; what follows from it. Every
    timer due by then has fired. Raises `IndexBehindError`."""
    request, place = decode_request(row.state), Place(row.position, row.recorded_at)
    holders = load_profiles(connection, set(load_graph(connection, (request.node, request.other)).values()))
    state = load_state(connection, {node for one in holders.values() for node in nodes(one)}, set())
    fold = Fold(plan, state, lambda _: row.position)
    plans = plans_upto(connection, row.position, change_of)
    past = _past(connection, row.position)
    done = fold_apart(fold, place, request, plans, AskedLog(connection), past, live=True)
    outcome = fold.outcome()
    save(connection, state, outcome)
    return [*outcome.entries, done]


def _past(connection: Connection, before: int) -> Callable[[Collection[str]], Iterator[PastRow]]:
    def past(subjects: Collection[str]) -> Iterator[PastRow]:
        places = sorted(positions_of(connection, subjects, before=before, limit=_PLACES))
        for start in range(0, len(places), _PAGE):
            rows = read_positions(connection, places[start : start + _PAGE])
            rows = [row for row in rows if row.topic.startswith(INBOUND) and not row.erased]
            apart = left_out(connection, rows[0].position - 1, rows[-1].position) if rows else set()
            for row in rows:
                if row.position not in apart:
                    yield PastRow(row.position, row.recorded_at, row.subject or "", row.state)

    return past
