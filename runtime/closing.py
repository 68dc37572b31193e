"""What became of messages that count for a channel, as the pipeline takes it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from adapters.log.read import read_positions
from adapters.projections.outbound import OUTCOME_TOPICS, find_outbound
from domain.outbound import Outbound, Outcome
from domain.records import Row
from domain.replays import REPLAYED
from domain.state import Closed

#: What the rows of such messages, and of their outcomes, have in their states. In a text it would be escaped.
OF_CHANNEL: Final = b'"channel":'

_requested = msgspec.json.Decoder(Outbound).decode
_outcome = msgspec.json.Decoder(Outcome).decode


def closings(connection: Connection, rows: Sequence[Row]) -> dict[int, Closed]:
    """What these rows say of such messages, by position. A record that goes out again comes with it."""
    outcomes = {
        row.position: _outcome(row.state)
        for row in rows
        if row.topic in OUTCOME_TOPICS and OF_CHANNEL in row.state
    }
    again = [one.id for one in outcomes.values() if one.again_at]
    records = _records(connection, again, rows) if again else {}
    return {position: Closed(one, records.get(one.id)) for position, one in outcomes.items()}


def _records(connection: Connection, ids: Sequence[str], rows: Sequence[Row]) -> dict[str, Outbound]:
    """The records with these ids, which may be among the rows; not of whoever was erased."""
    wanted = set(ids)
    found = [row for row in rows if row.topic == "outbound.requested" and row.stream_id in wanted]
    known = find_outbound(connection, ids=ids, limit=len(ids))
    found += read_positions(connection, [one.position for one in known])
    return {row.stream_id: _requested(row.state) for row in found if not row.erased}


def told_again(row: Row) -> Outbound | None:
    """The event that a row has a connection tell again, `None` where it has not."""
    if row.topic != "outbound.requested" or REPLAYED not in row.state:
        return None
    record = _requested(row.state)
    return record if record.replayed and record.change == "event" else None
