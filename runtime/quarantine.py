"""Handing in again what lies in quarantine: payloads by their feed's way, records that a tracking plan has put aside as
the plan is now, and records of the log as the next version of themselves."""

from __future__ import annotations

import asyncio

import msgspec
from nats.js.api import Header
from sqlalchemy import Connection

from adapters.bus.connection import connect
from adapters.bus.publish import Message, publish_batch
from adapters.bus.streams import ensure_streams
from adapters.log.append import append
from adapters.log.read import driver_of, read_positions
from adapters.projections.definitions import load_workspace
from adapters.quarantine import Quarantined, find_aside, forget_aside, note_replayed
from domain.mendable import Mendable
from domain.records import Entry, record_of
from domain.tracking_plan import plans_of_feeds
from runtime.admission import CODE, admit
from runtime.identity_rules import rules_of


class QuarantineError(Mendable):
    """Nothing like that is in quarantine, or it cannot be handed in again."""


def find(connection: Connection, id: str) -> Quarantined:
    """The item with this id. Raises `QuarantineError`."""
    item = find_aside(connection, id)
    if item is None:
        raise QuarantineError(
            f"nothing in quarantine has the id {id}; `roundtrip quarantine list` tells them"
        )
    return item


def replay(connection: Connection, nats_url: str, id: str) -> str:
    """Hands an item in again, and says how. Raises `QuarantineError`. The caller commits."""
    item = find(connection, id)
    if item.code == CODE:
        position = _admit_again(connection, item)
        forget_aside(connection, id)
        return f"at position {position}"
    if item.position is None:
        asyncio.run(_hand_in(nats_url, item))
        forget_aside(connection, id)
        return f"handed in again on roundtrip.in.{item.feed}"
    return f"at position {_append_again(connection, item, item.position)}"


def _admit_again(connection: Connection, item: Quarantined) -> int:
    try:
        record = record_of(item.body)
    except msgspec.DecodeError as error:
        raise QuarantineError(
            f"{item.id}: an earlier build has kept a part of it only; send it again"
        ) from error
    workspace = load_workspace(connection)
    plans = plans_of_feeds(workspace.tracking_plans) if workspace else {}
    plan = plans.get(item.feed)
    verdict = None if plan is None else plan.judge(record)
    if verdict is not None and verdict.policy != "mark":
        raise QuarantineError(
            f"{item.id}: the tracking plan is still against it: {verdict.reason}; "
            "change the plan, `roundtrip apply` it, and replay once more"
        )
    rules = rules_of(workspace)
    [entry] = admit(plans, [record], item.received_at, rules).entries
    return append(connection, [entry], rules=rules).appended[0].position


def _append_again(connection: Connection, item: Quarantined, position: int) -> int:
    [row] = read_positions(connection, [position])
    if row.erased:
        raise QuarantineError(f"the record at position {position} is of somebody who was erased")
    latest = driver_of(connection).execute(
        "SELECT max(version) FROM log_stream WHERE stream_id = %s::uuid", (row.stream_id,)
    )
    [version] = latest.fetchone() or [row.version]
    entry = Entry(row.stream_id, version + 1, row.topic, row.subject, row.state)
    batch = append(connection, [entry])
    note_replayed(connection, item.id, batch.recorded_at)
    return batch.last_position


async def _hand_in(nats_url: str, item: Quarantined) -> None:
    client = await connect(nats_url, "roundtrip quarantine replay")
    try:
        await ensure_streams(client.jetstream())
        # Whoever published it may have named it; by that name the stream would pass it over for two minutes.
        kept = {name: value for name, value in item.headers.items() if name != Header.MSG_ID.value.lower()}
        await publish_batch(client.jetstream(), [Message(f"roundtrip.in.{item.feed}", item.body, kept)])
    finally:
        await client.close()
