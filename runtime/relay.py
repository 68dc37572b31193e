"""The relay: every row of the log, in order, onto NATS. The log is the truth and NATS is transport: a
stream that was lost is filled again from the log."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import groupby, takewhile
from typing import Any, Final

import msgspec
import structlog
from nats.js import JetStreamContext
from sqlalchemy import Connection, Engine, text

from adapters.bus.cloud_event import cloud_event
from adapters.bus.connection import connect
from adapters.bus.consumer import reconnects
from adapters.bus.copy import newest_relayed
from adapters.bus.forget import forget_subjects, sweep_queue
from adapters.bus.publish import RESENT, Message, publish_batch
from adapters.bus.sole_writer import SoleWriter
from adapters.bus.streams import IN, LOG, OUT, Stream, ensure_streams
from adapters.bus.subject import token
from adapters.log.chain import newest_chain_head
from adapters.log.read import listen, read_head, read_positions, read_rows, wait_for_append
from adapters.log.witness import line_of
from adapters.projections.checkpoint import move_checkpoint, put_checkpoint, read_checkpoint
from adapters.projections.outbound import closed, pending_positions
from domain.configuration import TOPIC_PREFIX
from domain.erasure import ERASED, REFUSED, decode_erased
from domain.outbound import Outbound
from domain.records import Row
from runtime.failpoints import failpoint
from runtime.loop_telling import tell_loops
from runtime.signals import stop_on_signals

CHECKPOINT: Final = "relay"
#: Work queue → the checkpoint that says up to which count of erasures its files were removed.
CLEARED: Final = {name: f"cleared {name}" for name in (IN, OUT)}
_NEVER: Final = -1
BATCH_ROWS: Final = 1_000
IDLE_WAIT_S: Final = 1.0
#: Where the heads of the hash chain are published.
HEAD_SUBJECT: Final = "roundtrip.log.chain.head"
#: How often pending outbound records are compared with what is on its way.
SWEEP_S: Final = 15.0
LEAD: Final = 0x72656C79
_decode_outbound = msgspec.json.Decoder(Outbound).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

log = structlog.get_logger("relay")


async def relay_until_stopped(engine: Engine, nats_url: str, replicas: int = 1) -> None:
    """Leads until a signal; where another relay leads, stands by until it goes."""
    stop = stop_on_signals()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as lead:
        while not lead.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LEAD}).scalar():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), IDLE_WAIT_S)
                return
        bus = await connect(nats_url, "roundtrip relay")
        try:
            telling = asyncio.create_task(tell_loops(engine, bus, stop))
            try:
                await run_relay(engine, bus.jetstream(), stop, replicas)
            finally:
                telling.cancel()
        finally:
            await bus.drain()


async def run_relay(engine: Engine, js: JetStreamContext, stop: asyncio.Event, replicas: int = 1) -> None:
    """Relays until `stop`."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as ear:
        listen(ear)
        while not stop.is_set():
            await _relay_while_connected(engine, js, ear, stop, replicas)


async def _relay_while_connected(
    engine: Engine, js: JetStreamContext, ear: Connection, stop: asyncio.Event, replicas: int
) -> None:
    """Relays until `stop`, or until the connection to NATS was lost and made again: it may have lost what it had."""
    begun = reconnects(js)
    streams = await ensure_streams(js, replicas)
    with engine.connect() as connection:
        stopped = read_checkpoint(connection, CHECKPOINT)
    position, resent_to = _begin(engine, streams, await newest_relayed(js, stopped))
    swept = cleared = time.monotonic()
    copy = SoleWriter(js, LOG)
    rows: list[Row] = []
    while True:
        # Nothing that was read before an erasure is still to be published now.
        if time.monotonic() - cleared > IDLE_WAIT_S:
            await _clear(engine, js)
            cleared = time.monotonic()
        published, position = position, rows[-1].position if rows else position
        refused = any(row.topic == REFUSED for row in rows)
        rows, head = await asyncio.to_thread(_go_on, engine, published, position, refused=refused)
        if position > published:
            failpoint("relay.checkpointed")
        if stop.is_set() or reconnects(js) != begun:
            return
        if not rows:
            if time.monotonic() - swept > SWEEP_S:
                await _sweep(engine, js, position)
                swept = time.monotonic()
            await asyncio.to_thread(wait_for_append, ear, IDLE_WAIT_S, position)
            continue
        outbound = await asyncio.to_thread(_outbound_of, engine, rows, resent=position <= resent_to)
        if outbound:
            await publish_batch(js, outbound)
        await copy.publish([message for row in rows for message in _log_messages(row)] + head)
        failpoint("relay.published")
        if reconnects(js) != begun:
            # They may stand behind a loss, where nobody would look for it from their end.
            return
        await _forget(js, rows)


def _begin(engine: Engine, streams: list[Stream], newest: int | None) -> tuple[int, int]:
    """Where to begin: where the last relay stopped; at the log's beginning when a stream is not the one that was filled
    then; behind the `newest` row that NATS has, when it has lost what came after. And where the last relay stopped,
    whose next rows it may have published already."""
    created = {stream.name: stream.created for stream in streams}
    with engine.begin() as connection:
        position = stopped = read_checkpoint(connection, CHECKPOINT)
        known = {
            row.name: row.created for row in connection.execute(text("SELECT name, created FROM bus_stream"))
        }
        lost = sorted(name for name, at in created.items() if name != IN and known.get(name) != at)
        if lost and position:
            log.warning("filling streams from the log", streams=lost)
            move_checkpoint(connection, CHECKPOINT, position, 0)
            position = 0
        elif newest is not None and newest < position:
            log.warning("filling the log's copy from where NATS has lost it", after=newest, upto=position)
            move_checkpoint(connection, CHECKPOINT, position, newest)
            position = newest
        for name, at in created.items():
            connection.execute(
                text(
                    "INSERT INTO bus_stream (name, created) VALUES (:name, :at)"
                    " ON CONFLICT (name) DO UPDATE SET created = excluded.created"
                ),
                {"name": name, "at": at},
            )
    return position, stopped


def _go_on(engine: Engine, before: int, position: int, *, refused: bool) -> tuple[list[Row], list[Message]]:
    """In one transaction, moves the checkpoint to what was published since and reads what comes next: rows, and the
    head of the chain among them. `refused` says that what was published had rows that may have come by NATS, though
    they were somebody's who is erased."""
    with engine.begin() as connection:
        if position > before:
            move_checkpoint(connection, CHECKPOINT, before, position)
        if refused:
            put_checkpoint(connection, CLEARED[IN], _NEVER)
        rows = _read(connection, position)
        return rows, _head_messages(connection, position, rows) if rows else []


def _read(connection: Connection, position: int) -> list[Row]:
    """The next rows; an outbound batch is never cut, as it was appended whole and is sent whole."""
    rows = read_rows(connection, position, BATCH_ROWS)
    while len(rows) >= BATCH_ROWS and rows[-1].topic == "outbound.requested":
        more = read_rows(connection, rows[-1].position, BATCH_ROWS)
        same = _beginning(more, _batch_of(rows[-1]))
        rows += same
        if not same or len(same) < len(more):
            break
    return rows


def _beginning(rows: list[Row], batch: str) -> list[Row]:
    """The rows of this batch that they begin with."""
    return list(takewhile(lambda row: _batch_of(row) == batch, rows))


def _batch_of(row: Row) -> str:
    return _decode_outbound(row.state).batch if row.topic == "outbound.requested" and not row.erased else ""


def _outbound_of(engine: Engine, rows: list[Row], *, resent: bool) -> list[Message]:
    requested = [row for row in rows if row.topic == "outbound.requested" and not row.erased]
    if not requested:
        return []
    with engine.connect() as connection:
        return _outbound_messages(connection, requested, resent=resent)


def _log_messages(row: Row) -> list[Message]:
    if row.erased or (row.topic == "outbound.requested" and row.subject == row.stream_id):
        return []
    kind, _, name = row.topic.partition(".")
    if row.topic.startswith(TOPIC_PREFIX):
        kind, name = "definition", row.topic.rpartition(".")[2].lower()
    subjects = []
    if kind == "audience":
        subjects.append(f"roundtrip.audience.{token(_decode(row.state)['audience'])}.{name}")
    elif kind == "profile":
        subjects.append(f"roundtrip.profile.{name}")
    # Last, so that where this one is, all that is said of the row is.
    subjects.append(f"roundtrip.log.{token(kind)}.{token(name)}")
    return [
        Message(
            subject,
            row.state,
            cloud_event(
                id=str(row.position),
                type=f"roundtrip.{kind}.{name}",
                source="/roundtrip/log",
                subject=row.subject,
                time_us=row.recorded_at,
                msg_id=str(row.position)
                if subject.startswith("roundtrip.log.")
                else f"{row.position}:{kind}",
            ),
        )
        for subject in subjects
    ]


def _head_messages(connection: Connection, position: int, rows: list[Row]) -> list[Message]:
    """The newest head of the chain among these rows, which a witness may hold: it stands for all before it."""
    head = newest_chain_head(connection, rows[-1].position)
    if head is None or head.position <= position:
        return []
    headers = cloud_event(
        id=f"chain:{head.position}",
        type="roundtrip.chain.head",
        source="/roundtrip/log",
        time_us=head.recorded_at,
        msg_id=f"chain:{head.position}",
    )
    return [Message(HEAD_SUBJECT, line_of(head).encode(), headers)]


def _outbound_messages(
    connection: Connection, rows: list[Row], again: str = "", *, resent: bool = False
) -> list[Message]:
    """One message a batch, of those that have no outcome yet. Of those that may be on the bus under the same message id
    it is said that they are `resent`; with `again` they get another one."""
    outbound = [_decode_outbound(row.state) for row in rows if not row.erased]
    done = closed(connection, [one.id for one in outbound])
    waiting = [one for one in outbound if one.id not in done and not one.unsent]
    messages = []
    for batch, members in groupby(waiting, key=lambda one: one.batch):
        several = list(members)
        headers = cloud_event(
            id=batch,
            type="roundtrip.out",
            source="/roundtrip/routing",
            subject=several[0].connection,
            msg_id=f"{batch}{again}",
        )
        if resent or again:
            headers[RESENT] = "1"
        subject = f"roundtrip.out.{token(several[0].connection)}"
        messages.append(Message(subject, msgspec.json.encode(several), headers))
    return messages


async def _forget(js: JetStreamContext, rows: list[Row]) -> None:
    """Has NATS forget whom these rows erase: all that was said of them before has been published by now."""
    nodes = {node for row in rows if row.topic == ERASED for node in decode_erased(row.state).nodes}
    if nodes:
        count = await forget_subjects(js, nodes)
        log.info("messages of erased persons overwritten", messages=count)


async def _clear(engine: Engine, js: JetStreamContext) -> None:
    """After keys were destroyed, a work queue's files go as soon as nothing waits in it."""
    with engine.connect() as connection:
        erasures = connection.execute(text("SELECT erasures FROM log_head")).scalar_one()
        cleared = {name: read_checkpoint(connection, CLEARED[name]) for name in CLEARED}
    for name, before in cleared.items():
        if before != erasures and await sweep_queue(js, name):
            with engine.begin() as connection:
                move_checkpoint(connection, CLEARED[name], before, erasures)


async def _sweep(engine: Engine, js: JetStreamContext, position: int) -> None:
    """Sends again what is pending though nothing is on its way any more: a message or an outcome was lost
    by NATS, which acknowledges before it writes to disk. The destination knows it by its idempotency key."""
    for name in (IN, OUT):
        if (await js.stream_info(name)).state.messages:
            return
    with engine.connect() as connection:
        if read_checkpoint(connection, "pipeline") != read_head(connection).position:
            return
        positions = pending_positions(connection, position)
        if not positions:
            return
        log.warning("sending again what was lost on its way", outbound=len(positions))
        messages = _outbound_messages(connection, read_positions(connection, positions), f":{time.time_ns()}")
    await publish_batch(js, messages)
