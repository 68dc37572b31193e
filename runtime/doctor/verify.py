"""The examination: what `roundtrip doctor` prints, and every test of a fault asks afterwards.

I6 (a destination has seen everything, with one effect) is known to the destination alone; I9 (a request that timed out
is there nought or one times) follows from I2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Engine

from adapters.bus.connection import connect
from adapters.bus.errors import BusUnavailableError
from adapters.keys.management import KeyManagement
from adapters.log.driver import driver_of
from runtime.definitions import Definitions
from runtime.doctor.finding import Finding, Progress
from runtime.doctor.identities import examine_identities, examine_subjects
from runtime.doctor.outgoing import examine_closings, examine_order, examine_pending
from runtime.doctor.parts import STREAMS_THERE, examine_readers, examine_schema, examine_streams
from runtime.rebuild.command import verify_live
from runtime.rebuild.run import Task, alone
from runtime.verify import verify_log

CONNECT_WITHIN_S: Final = 5.0
_EQUAL: Final = "projections equal to a clean rebuild"


class Patient(NamedTuple):
    """A platform, running or at rest. `engine` is its database, `home` a place for what a rebuild keeps meanwhile,
    which `jobs` processes share."""

    engine: Engine
    database_url: str
    nats_url: str
    keys: KeyManagement | None
    definitions: Definitions
    home: Path
    jobs: int = min(os.cpu_count() or 1, 4)


def silent(_name: str, _at: int, _of: int) -> None:
    """No progress is told."""


async def examine(patient: Patient) -> list[Finding]:
    """What can be told at once."""
    engine = patient.engine
    if not (schema := examine_schema(engine)).holds:
        return [schema]
    found = [schema, *examine_readers(engine)]
    try:
        bus = await connect(patient.nats_url, "roundtrip doctor", within_s=CONNECT_WITHIN_S)
    except BusUnavailableError as error:
        return [*found, Finding("streams", STREAMS_THERE, "nothing", str(error))]
    try:
        streams = await examine_streams(bus.jetstream())
        found.append(streams)
        return [*found, await examine_pending(engine, bus.jetstream())] if streams.holds else found
    finally:
        await bus.close()


def verify(patient: Patient, answered: Sequence[str] = (), progress: Progress = silent) -> Iterator[Finding]:
    """Every invariant that shows in the log, the projections, and what goes out, one after the other. `answered` are
    the ids of records whose senders were told that they are taken. The platform may be at work meanwhile."""
    engine = patient.engine
    chain = _chain(patient, partial(progress, "I8"))
    yield chain
    if answered:
        yield _answered(engine, answered)
    yield from examine_identities(engine, partial(progress, "I2, I3"))
    index = examine_subjects(engine, partial(progress, "I4, by person"))
    yield index
    if chain.holds and index.holds:
        yield _projections(patient, partial(progress, "I4"))
    else:
        yield Finding("I4", _EQUAL, "nothing", "not looked at, since what a rebuild reads is not as it was")
    yield examine_closings(engine)
    yield examine_order(engine, partial(progress, "I7"))


def _chain(patient: Patient, progress: Callable[[int, int], None]) -> Finding:
    verified = verify_log(patient.database_url, progress, jobs=patient.jobs)
    fault = verified.fault
    wrong = f"{fault.kind} at position {fault.position}: {fault.what}" if fault else ""
    return Finding("I8", "the hash chain holds", f"{verified.rows:,} rows", wrong)


def _answered(engine: Engine, ids: Sequence[str]) -> Finding:
    query = (
        "SELECT count(*), min(id::text) FROM unnest(%s::uuid[]) AS n(id)"
        " WHERE NOT EXISTS (SELECT FROM log_stream WHERE stream_id = id AND version = 1)"
    )
    with engine.connect() as connection:
        count, first = driver_of(connection).execute(query, (list(ids),)).fetchone() or (0, None)
    wrong = f"{count:,} are not, as {first}" if count else ""
    return Finding("I1", "what was answered with success is in the log", f"{len(ids):,} records", wrong)


def _projections(patient: Patient, progress: Callable[[int, int], None]) -> Finding:
    task = Task(patient.database_url, patient.keys, patient.home / "rebuild", jobs=patient.jobs)
    with alone(patient.engine):
        verified = verify_live(patient.engine, task, patient.definitions, progress)
    wrong = [
        f"{one.projection} differs, first at {one.differences[0] if one.differences else '?'}"
        for one in verified.tables
        if not one.equal
    ]
    wrong += [str(verified.parting)] if verified.parting else []
    wrong += [f"derived records differ: {verified.followed}"] if verified.followed else []
    rows = sum(one.live.rows for one in verified.tables)
    return Finding("I4", _EQUAL, f"{rows:,} rows in {len(verified.tables)} tables", "; ".join(wrong))
