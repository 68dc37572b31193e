"""A run of a connection that goes out by runs: at its position in the log, what is due is told all at once.

What it tells follows from the log up to there: of an audience, by the state that holds at that position; of events,
by what the connection has gathered since its last run. Why so: docs/decisions/0170-a-run-is-a-record.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from domain.batches import Batches
from domain.outbound import Outbound
from domain.records import Entry, derive_id
from domain.routing import Destination

#: The topic of the record.
RUN: Final = "connection.run"

_encode = msgspec.json.Encoder().encode


class ConnectionRun(msgspec.Struct, frozen=True):
    """A connection is to tell what is due. `due` is the time of its schedule that this is the run of, or when somebody
    asked for it, in microseconds since the epoch."""

    connection: str
    due: int


class Run(NamedTuple):
    """A run of a connection at a position, at the log's time `at` (microseconds)."""

    connection: str
    position: int
    at: int


decode_run = msgspec.json.Decoder(ConnectionRun).decode


def stream_of(connection: str) -> str:
    """The stream whose versions count a connection's runs."""
    return derive_id("connection", "runs", connection)


def run_entry(connection: str, version: int, due: int) -> Entry:
    """Nobody's row."""
    return Entry(stream_of(connection), version, RUN, None, _encode(ConnectionRun(connection, due)))


def complete_entry(destination: Destination, run: Run, records: int) -> Entry:
    """The record that ends what a run sends: a destination that has it has been sent so many before. Nobody's row."""
    id = derive_id("outbound", run.connection, "complete", str(run.position))
    body = Outbound(
        id=id,
        connection=run.connection,
        batch=derive_id("batch", id),
        profile="",
        audience=destination.audience,
        change="complete",
        fields={"records": records},
        cause=run.position,
        run=run.position,
    )
    return Entry(id, 1, "outbound.requested", None, _encode(body))


def batches_of(gathered: list[Outbound], size: int, run: Run) -> list[Entry]:
    """The outbound records of events that were gathered, formed into batches of at most this size in their order."""
    batches = Batches(size)
    return [batches.add(msgspec.structs.replace(one, run=run.position)) for one in gathered]
