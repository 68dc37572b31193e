"""How many events a second the pipeline takes in with audiences: from the log to profiles, memberships and what
follows, all in PostgreSQL."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from adapters.projections.people import save
from benchmarks.database import new_database
from benchmarks.of_audiences.declared import EVENTS, disjoint, hundred
from benchmarks.report import Figure
from domain.profiles import Attribute, Profile
from domain.records import Entry, Identifier, Record, entry_of, node_id
from domain.state import Outcome, State
from domain.workspace import Workspace
from runtime.collector import spare_the_collector
from runtime.definitions import apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain

GOAL: Final = 10_000
RATIO: Final = 0.8
#: Events of one person that follow one another.
_SESSION: Final = 5
_BATCH: Final = 5_000


def streaming_figures(server: str, people: int, events: int) -> list[Figure]:
    """With a hundred audiences of mixed kinds, and with none; then with ten and with a thousand that share no event."""
    names: Sequence[str] = EVENTS
    rate = _rate(server, hundred(), names, people, events)
    none = _rate(server, {}, names, people, events)
    tenth = min(people, 50_000)
    few = _rate(server, disjoint(10), [f"Event {n}" for n in range(10)], tenth, events)
    many = _rate(server, disjoint(1_000), [f"Event {n}" for n in range(1_000)], tenth, events)
    return [
        Figure(f"streaming, 100 audiences, {people:,} profiles", rate, "events/s", GOAL),
        Figure("streaming, no audience", none, "events/s"),
        Figure("100 audiences ÷ none", rate / none, "×"),
        Figure("10 audiences over disjoint events", few, "events/s"),
        Figure("1,000 audiences over disjoint events", many, "events/s"),
        Figure("1,000 audiences ÷ 10", many / few, "×", RATIO),
    ]


def _rate(server: str, said: Mapping[str, Any], names: Sequence[str], people: int, events: int) -> float:
    with new_database(server) as url, open_definitions(url) as definitions:
        engine = open_database(url, application="benchmark", keys=parse_masters(new_master()))
        try:
            workspace = {"workspace": "benchmark", "feeds": {"app": {"format": "files"}}, "audiences": said}
            apply_workspace(engine, definitions, Workspace.model_validate(workspace))
            pipeline = Pipeline(engine, definitions)
            drain(pipeline, 2**62)
            put_people(engine, people)
            put_events(engine, names, people, events)
            # As the pipeline's process does.
            spare_the_collector()
            began = time.perf_counter()
            drain(pipeline, 2**62)
            return events / (time.perf_counter() - began)
        finally:
            engine.dispose()


def put_people(engine: Engine, people: int) -> None:
    """Profiles as they are of people who were only identified."""
    for start in range(0, people, _BATCH):
        profiles = {}
        for number in range(start, min(start + _BATCH, people)):
            one = _user(number)
            plan = {"plan": Attribute("pro" if number % 3 else "free", 0, 0, 1)}
            id = node_id(one)
            profiles[id] = Profile(id, 1, 1, {one.kind: {one.value: 1}}, plan)
        links = {id: id for id in profiles}
        with engine.begin() as connection:
            save(connection, State({}, profiles), Outcome(frozenset(profiles), {}, links, [], []))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE profile, identity, subject_key")


def _user(number: int) -> Identifier:
    return Identifier("user_id", f"user-{number:07d}")


def put_events(engine: Engine, names: Sequence[str], people: int, events: int) -> None:
    """Sessions of a few events each, of people at random."""
    chance, now = random.Random(1), time.time_ns() // 1_000 - events
    entries: list[Entry] = []
    for number in range(events):
        if number % _SESSION == 0:
            who = _user(chance.randrange(people))
        properties = {
            "total": chance.randrange(1, 100),
            "item": f"sku-{chance.randrange(1_000)}",
            "currency": "EUR",
            "category": "garden furniture and outdoor",
        }
        name = chance.choice(names)
        body = {"type": "track", "event": name, "userId": who.value, "properties": properties}
        entries.append(
            entry_of(
                Record(
                    feed="app",
                    message_id=f"m-{number}",
                    type="track",
                    name=name,
                    occurred_at=now + number,
                    identifiers=(who,),
                    properties_at="properties",
                    body=msgspec.Raw(msgspec.json.encode(body)),
                )
            )
        )
        if len(entries) == _BATCH or number == events - 1:
            with engine.begin() as connection:
                append(connection, entries)
            entries = []
