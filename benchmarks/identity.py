"""Identities, profiles and ten traits: how many events a second `roundtrip pipeline` takes in, a process of its own
beside PostgreSQL, among few people and among many; and how fast the HTTP API shows one of them.

The reference is the log's own append of the same events in the same run. Goals: issue "Identity, profiles, traits and
consent", section "Speed".
"""

from __future__ import annotations

import http.client
import random
import time
from typing import Final, NamedTuple

from sqlalchemy import Engine

from adapters.log.append import append
from adapters.log.read import read_head
from adapters.projections.checkpoint import read_checkpoint
from benchmarks.database import new_database
from benchmarks.of_identity.known import add_people
from benchmarks.of_identity.traffic import TRAITS, Traffic, traffic, user
from benchmarks.parts import Servers, most_memory, part, processor_s, servers
from benchmarks.platform import free_port, wait_for
from benchmarks.report import Figure, arguments, conclude
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions, plan_of
from runtime.pipeline import BATCH_ROWS, CHECKPOINT, Pipeline, drain

GOAL: Final = 15_000
RATIO: Final = 0.7
MEMORY_MB: Final = 700
SHOWN_MS: Final = 10
FEW: Final = 10_000
_BATCH: Final = 5_000
_TOKEN: Final = "benchmark-api-token"
_WORKSPACE: Final = Workspace.model_validate(
    {"workspace": "benchmark", "feeds": {"app": {"format": "files"}}, "traits": TRAITS}
)


class Taken(NamedTuple):
    """Events a second that were taken in and that were appended, and what the pipeline's process took for it: seconds
    of processor an event, and memory in MB."""

    rate: float
    appended: float
    cost: float
    memory: float


class Shown(NamedTuple):
    """How long the API takes to show a profile, in ms."""

    p50: float
    p99: float


def main() -> None:
    asked = arguments(__doc__)
    many, events, looks = (40_000, 24_000, 500) if asked.quick else (1_000_000, 200_000, 5_000)
    with servers() as ours:
        with new_database(ours.postgres) as database:
            few, _ = _measure(ours, database, FEW, events, 0)
        with new_database(ours.postgres) as database:
            taken, shown = _measure(ours, database, many, events, looks)
    figures = [
        Figure(f"identity, profile and 10 traits, {many:,} profiles", taken.rate, "events/s", GOAL),
        Figure(f"the same, {FEW:,} profiles", few.rate, "events/s"),
        Figure(f"{many:,} profiles ÷ {FEW:,}", taken.rate / few.rate, "×", RATIO),
        Figure("the log's own append of the same events", taken.appended, "events/s"),
        Figure("taken in ÷ the log's own append", taken.rate / taken.appended, "×"),
        Figure("cost of an event in the pipeline", 1e6 * taken.cost, "µs of processor"),
        Figure("the pipeline's memory at most", taken.memory, "MB", MEMORY_MB, at_most=True),
        Figure(f"GET /v1/profiles, {many:,} profiles, p50", shown.p50, "ms"),
        Figure(f"GET /v1/profiles, {many:,} profiles, p99", shown.p99, "ms", SHOWN_MS, at_most=True),
    ]
    one = traffic(events, many, 0)
    note = f"{events:,} events: {one.new:,} of new people, {one.merging:,} merge two profiles"
    conclude("Identity", figures, asked, [note])


def _measure(ours: Servers, database: str, people: int, events: int, looks: int) -> tuple[Taken, Shown]:
    engine = ours.open(database)
    try:
        with open_definitions(database) as definitions:
            apply_workspace(engine, definitions, _WORKSPACE)
            drain(Pipeline(engine, definitions), 2**62)
        add_people(engine, plan_of(_WORKSPACE).audiences, people)
        taken = _take_in(ours, engine, database, traffic(events, people, time.time_ns() // 1_000 - events))
        return taken, _show(ours, database, people, looks) if looks else Shown(0, 0)
    finally:
        engine.dispose()


def _take_in(ours: Servers, engine: Engine, database: str, coming: Traffic) -> Taken:
    entries = coming.entries
    before, began = _position(engine), time.perf_counter()
    for start in range(0, len(entries), _BATCH):
        with engine.begin() as connection:
            append(connection, entries[start : start + _BATCH])
    appended = len(entries) / (time.perf_counter() - began)
    with engine.connect() as connection:
        last = read_head(connection).position
    with part("pipeline", ours, database) as pipeline:
        # The start of the interpreter, and the first batch, are not counted.
        wait_for(lambda: _position(engine) >= before + BATCH_ROWS, "the pipeline's first batch")
        first, began, spent = _position(engine), time.perf_counter(), processor_s(pipeline)
        wait_for(lambda: _position(engine) >= last, "the pipeline", 1_200)
        took, spent = time.perf_counter() - began, processor_s(pipeline) - spent
        counted = last - first
        return Taken(counted / took, appended, spent / counted, most_memory(pipeline))


def _position(engine: Engine) -> int:
    with engine.connect() as connection:
        return read_checkpoint(connection, CHECKPOINT)


def _show(ours: Servers, database: str, people: int, looks: int) -> Shown:
    """One request after another over one connection, for people at random."""
    port, chance = free_port(), random.Random(5)
    environment = {"ROUNDTRIP_HTTP": f"127.0.0.1:{port}", "ROUNDTRIP_API_TOKEN": _TOKEN}
    took: list[float] = []
    with part("serve", ours, database, environment):
        wait_for(lambda: _answers(port), "`roundtrip serve` to answer", 60)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(looks + looks // 10):
            began = time.perf_counter()
            path = f"/v1/profiles/user_id:{user(chance.randrange(people)).value}"
            connection.request("GET", path, headers={"Authorization": f"Bearer {_TOKEN}"})
            answer = connection.getresponse()
            body = answer.read()
            took.append(time.perf_counter() - began)
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status} {body.decode()[:300]}")
        connection.close()
    counted = sorted(took[looks // 10 :])
    return Shown(1e3 * counted[len(counted) // 2], 1e3 * counted[len(counted) * 99 // 100])


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
