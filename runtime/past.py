"""One person's records and what was declared at the time, as the log has them: enough to fold the person again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from adapters.log.chain import first_position_at
from adapters.log.read import first_moving_from, read_positions, time_before
from adapters.projections.definitions import DefinitionChange, as_stored
from adapters.projections.outbound import outcome_positions
from adapters.projections.people import load_gone, load_graph, load_profiles
from adapters.projections.subjects import DEFINITIONS, UNMERGES, positions_of
from adapters.quarantine import left_out
from domain.identity_rules import DEFAULT_RULES
from domain.profiles import nodes
from domain.records import RECORD_TYPES, Identifier, Record, Row, node_id, record_of
from domain.unmerge import decode_request
from runtime.errors import TooMuchPastError
from runtime.rebuild.fold import ShardFold
from runtime.rebuild.plans import Plans, change_at
from runtime.rebuild.scan import Kind, Scan

#: Rows of the log that one person's past may have, to be folded for an answer.
MOST_ROWS: Final = 20_000
#: What the topics of inbound records begin with.
INBOUND: Final = tuple(f"{kind}." for kind in RECORD_TYPES)
#: Rows that a person's state goes by.
_OF_STATE: Final = (Kind.RECORD, Kind.MESSAGE, Kind.CLOSED, Kind.TOLD, Kind.UNMERGE)

ChangeOf = Callable[[Row], DefinitionChange]


class Said(NamedTuple):
    """An inbound record that can be read, and its row."""

    row: Row
    record: Record


class Past(NamedTuple):
    """The records that one person's state can depend on, in order, up to a position; the nodes that they name; the
    plans that were in force; and the other rows that count: messages to these people, what became of them, and requests
    to unmerge any of them."""

    records: Sequence[Said]
    nodes: Collection[str]
    plans: Plans
    others: Sequence[Row] = ()


def past_of(connection: Connection, node: str, upto: int, change_of: ChangeOf) -> Past:
    """Collects what a node's person can depend on: its records, those of everybody that they name, and so on.

    Raises `TooMuchPastError` and `IndexBehindError`.
    """
    known: set[str] = set()
    records: list[Said] = []
    others: list[Row] = []
    asked = _unmerges(connection)
    waiting = _with_people(connection, {node})
    while waiting:
        room = MOST_ROWS - len(records) - len(others)
        places = {
            *positions_of(connection, waiting, before=upto + 1, limit=room + 1),
            *outcome_positions(connection, waiting, upto + 1, room + 1),
        }
        if len(places) > room:
            raise TooMuchPastError(
                f"this person, and whom their identifiers lead to, have more than {MOST_ROWS:,} records; `roundtrip"
                " rebuild --as-of` folds everybody's"
            )
        rows = read_positions(connection, sorted(places))
        found = [said for row in rows if (said := _said(row)) is not None]
        records += found
        others += [row for row in rows if not row.topic.startswith(INBOUND)]
        known |= waiting
        named = {node for said in found for node in _nodes(said.record)}
        # Who was unmerged since was one person with the other one.
        named |= {end for _, ends in asked if not known.isdisjoint(ends) for end in ends}
        waiting = _with_people(connection, named - known) - known
    records.sort(key=lambda said: said.row.position)
    others += [row for row, ends in asked if row.position <= upto and not known.isdisjoint(ends)]
    return Past(records, known, plans_upto(connection, upto, change_of), others)


def _unmerges(connection: Connection) -> list[tuple[Row, set[str]]]:
    """Every request to unmerge two nodes, in order: they are few."""
    places = positions_of(connection, [UNMERGES], limit=MOST_ROWS)
    requests = [(row, decode_request(row.state)) for row in read_positions(connection, places)]
    return [(row, {request.node, request.other}) for row, request in requests]


def plans_upto(connection: Connection, upto: int, change_of: ChangeOf) -> Plans:
    """What was declared up to a position."""
    places = positions_of(connection, [DEFINITIONS], before=upto + 1, limit=2**31)
    rows = read_positions(connection, places)
    return Plans([as_stored(connection, change_at(row, change_of)) for row in rows])


def folded(connection: Connection, past: Past, upto: int) -> ShardFold:
    """The state of these people at a position."""
    first, last = (past.records[0].row.position, past.records[-1].row.position) if past.records else (1, 0)
    apart = left_out(connection, first - 1, last)
    scan = Scan()
    for row in sorted([*(said.row for said in past.records), *past.others]):
        scan.add(row)
    rows = [(at, time, kind, state) for at, time, kind, _, state in scan.rows if kind in _OF_STATE]
    gone = load_gone(connection, past.nodes)
    fold = ShardFold(past.plans, AskedLog(connection), upto, gone, apart, past=lambda: rows)
    for taken in rows:
        fold.take(*taken)
    fold.finish()
    return fold


class AskedLog:
    """The log's time, asked of the log itself."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._first_at: dict[int, int] = {}

    def first_at(self, time: int) -> int:
        found: int | None = self._first_at.get(time)
        if found is None:
            found = first_moving_from(self._connection, first_position_at(self._connection, time))
            assert found is not None, "no timer fires before a row has moved the log's time"
            self._first_at[time] = found
        return found

    def before(self, position: int) -> int:
        return time_before(self._connection, position)


def _said(row: Row) -> Said | None:
    if row.erased or not row.topic.startswith(INBOUND):
        return None
    try:
        return Said(row, record_of(row.state))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The pipeline has left it out.
        return None


def _nodes(record: Record) -> set[str]:
    """Whom a record can name, whatever was declared: a vendor's id may be of a declared kind too."""
    found = set()
    for identifier in record.identifiers:
        if not DEFAULT_RULES.blocked(identifier):
            kind = identifier.kind.removeprefix(f"{record.feed}.")
            found |= {node_id(identifier), node_id(Identifier(kind, identifier.value))}
    return found


def _with_people(connection: Connection, of: Collection[str]) -> set[str]:
    """These nodes, and all those of the people whom they lead to now."""
    profiles = load_profiles(connection, set(load_graph(connection, of).values()))
    return {*of, *profiles, *(node for profile in profiles.values() for node in nodes(profile))}
