"""People who are known already: profiles with identifiers, attributes and traits, as earlier records have left them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine

from adapters.projections.people import save
from benchmarks.of_identity.traffic import EVENTS, device, properties, user
from domain.audiences.evaluation import CompiledAudiences, Event
from domain.consent import Consent
from domain.profiles import Attribute, Profile
from domain.records import node_id
from domain.state import Outcome, State

_BATCH: Final = 5_000
#: So many different pasts there are; each is that of many.
_PASTS: Final = 200
_EVENTS_EACH: Final = 6
#: Long before anything that is measured, in microseconds.
_AT: Final = 1_790_000_000_000_000


def add_people(engine: Engine, compiled: CompiledAudiences, people: int) -> None:
    """Puts so many people where the pipeline finds them."""
    pasts = [_past(compiled, random.Random(seed)) for seed in range(_PASTS)]
    for start in range(0, people, _BATCH):
        with engine.begin() as connection:
            _add(connection, range(start, min(start + _BATCH, people)), pasts)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE profile, identity, subject_key")


def _add(connection: Connection, numbers: Sequence[int], pasts: Sequence[dict[str, Any]]) -> None:
    profiles: dict[str, Profile] = {}
    links: dict[str, str] = {}
    for number in numbers:
        one, its_device = user(number), device(number)
        id = node_id(one)
        said = {
            "plan": "pro" if number % 3 else "free",
            "city": "Leipzig",
            "email": f"{one.value}@example.com",
        }
        profiles[id] = Profile(
            id,
            1,
            1,
            {i.kind: {i.value: 1} for i in (one, its_device)},
            {name: Attribute(value, 0, _AT, 1) for name, value in said.items()},
            {"advertising": Consent(True, _AT, 1)},
            pasts[number % _PASTS],
        )
        links |= {id: id, node_id(its_device): id}
    save(connection, State({}, profiles), Outcome(frozenset(profiles), {}, links, [], []))


def _past(compiled: CompiledAudiences, chance: random.Random) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    for number in range(_EVENTS_EACH):
        event = Event(EVENTS[number % len(EVENTS)], _AT + number, 1, properties(chance))
        compiled.fold(conditions, event)
    return conditions
