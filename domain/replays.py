"""A replay of a connection: at its position in the log, what a connection was to tell since a position is told again.

As with a run, what it tells follows from the log up to there. Why so: docs/decisions/0231-a-replay-is-a-record.md.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from domain.outbound import Outbound
from domain.records import Entry, derive_id

#: The topic of the record.
REPLAY: Final = "connection.replay"
#: What an outbound record of a replay has in its state. In a text it would be escaped.
REPLAYED: Final = b'"replayed":'

_encode = msgspec.json.Encoder().encode


class ConnectionReplay(msgspec.Struct, frozen=True):
    """What stands at position `since` or behind it, and before this record, is told again."""

    connection: str
    since: int


decode_replay = msgspec.json.Decoder(ConnectionReplay).decode


def stream_of(connection: str) -> str:
    """The stream whose versions count a connection's replays."""
    return derive_id("connection", "replays", connection)


def replay_entry(connection: str, version: int, since: int) -> Entry:
    """Nobody's row."""
    return Entry(stream_of(connection), version, REPLAY, None, _encode(ConnectionReplay(connection, since)))


def replayed(record: Outbound, replay: int, **changes: Any) -> Outbound:
    """The record as it goes out by the replay at this position: once, whenever that is done again."""
    id = derive_id("replayed", str(replay), record.id)
    return msgspec.structs.replace(record, id=id, batch="", replayed=replay, **changes)
