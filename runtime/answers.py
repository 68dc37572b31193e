"""Ties engagement to what it answers, as it comes in: a reader of the log that follows the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from adapters.connectors.connector import connector
from adapters.log.read import driver_of, read_topics
from adapters.projections.answers import TYING, AnswerRow, HeldOut, save_answers, sent_to
from adapters.projections.checkpoint import move_checkpoint, read_checkpoint
from adapters.projections.definitions import load_workspace
from adapters.projections.people import load_graph, load_profiles
from domain.correlation import Answer, Sent, cause_of
from domain.erasure import ENGAGEMENT, REFUSED, decode_refused
from domain.messages import RoutingWithheld
from domain.profiles import nodes
from domain.records import Row, dig, record_of
from domain.routing import HELD_OUT
from domain.workspace import Workspace
from runtime.pairing import campaigns_of
from runtime.pipeline import CHECKPOINT as PIPELINE

CHECKPOINT: Final = "answers"
#: Rows of the log that are looked through in one transaction, and of engagement at most.
_SPAN: Final = 100_000
_ROWS: Final = 1_000
_WITHHELD: Final = "routing.withheld"
_TOPICS: Final = (*sorted(ENGAGEMENT), REFUSED, _WITHHELD)

_decode = msgspec.json.Decoder().decode
_withheld = msgspec.json.Decoder(RoutingWithheld).decode


def tie_answers(connection: Connection) -> int:
    """Takes in the next rows, within the connection's transaction; how many of the log's, 0 where there are none or
    another process is at it."""
    [led] = driver_of(connection).execute("SELECT pg_try_advisory_xact_lock(%s)", (TYING,)).fetchone() or (
        False,
    )
    after = read_checkpoint(connection, CHECKPOINT)
    # Whose a record is the pipeline decides, so nothing above it is looked at.
    upto = min(read_checkpoint(connection, PIPELINE), after + _SPAN)
    if not led or upto <= after:
        return 0
    rows = read_topics(connection, after, _ROWS, upto, _TOPICS)
    if len(rows) == _ROWS:
        upto = rows[-1].position
    readable = [row for row in rows if not row.erased]
    workspace = load_workspace(connection)
    if workspace is not None:
        engagement = [row for row in readable if row.topic in ENGAGEMENT]
        answers = _answers(connection, engagement, workspace) + _refused(readable, workspace)
        save_answers(connection, answers, _held_out(readable))
    move_checkpoint(connection, CHECKPOINT, after, upto)
    return upto - after


def brings(workspace: Workspace) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Connection → the events that come back of what it sends, and the formats of feeds that bring them."""
    wires = {name: connector(one.connector) for name, one in workspace.connections.items()}
    return {name: (wire.engagement, frozenset(wire.feeds)) for name, wire in wires.items() if wire.engagement}


def _held_out(rows: Sequence[Row]) -> list[HeldOut]:
    withheld = [(row.recorded_at, _withheld(row.state)) for row in rows if row.topic == _WITHHELD]
    return [HeldOut(one.connection, one.profile, at) for at, one in withheld if one.reason == HELD_OUT]


def _refused(rows: Sequence[Row], workspace: Workspace) -> list[AnswerRow]:
    """What answers nothing that is known any more, as it is of somebody who was erased."""
    refused = [(row, decode_refused(row.state)) for row in rows if row.topic == REFUSED]
    return [
        AnswerRow(row.position, None, "", one.feed, one.event, row.recorded_at, False)
        for row, one in refused
        if one.feed in workspace.feeds
    ]


def _answers(connection: Connection, rows: Sequence[Row], workspace: Workspace) -> list[AnswerRow]:
    graph = load_graph(connection, {row.subject for row in rows if row.subject is not None})
    profiles = load_profiles(connection, set(graph.values()))
    whose = {node: profile.id for profile in profiles.values() for node in (profile.id, *nodes(profile))}
    sent = sent_to(connection, whose, brings(workspace)) if whose else {}
    campaigns = campaigns_of(workspace)
    found = []
    for row in rows:
        try:
            record = record_of(row.state)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The pipeline has put it into quarantine.
            continue
        if record.feed not in workspace.feeds:
            continue
        format = workspace.feeds[record.feed].format
        properties = dig(_decode(record.body), record.properties_at) | record.properties
        theirs: Sequence[Sent] = sent.get(graph.get(row.subject or "", ""), ())
        cause = cause_of(
            Answer(record.name, properties, format, row.recorded_at),
            [one for one in theirs if one.at <= row.recorded_at],
            campaigns,
        )
        connection_of = {one.id: one.connection for one in theirs}
        found.append(
            AnswerRow(
                row.position,
                cause.outbound if cause else None,
                connection_of[cause.outbound] if cause else "",
                record.feed,
                record.name,
                row.recorded_at,
                cause.inferred if cause else False,
            )
        )
    return found
