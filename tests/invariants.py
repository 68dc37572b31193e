"""What holds after every fault: the examination of `roundtrip doctor --deep`, asked by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from adapters.database import open_database
from adapters.keys.management import KeyManagement
from runtime.definitions import open_definitions
from runtime.doctor.verify import Patient, examine, verify
from tests.keys import KEYS


def broken(
    database_url: str,
    nats_url: str,
    home: Path,
    answered: Sequence[str] = (),
    keys: KeyManagement | None = KEYS,
) -> list[str]:
    """Whatever does not hold of a platform, a line each. `answered` are the ids of records whose senders were told that
    they are taken (`domain.records.record_id`); `home` is a place for what the examination keeps meanwhile."""
    engine = open_database(database_url, application="invariants", keys=keys)
    try:
        with open_definitions(database_url) as definitions:
            patient = Patient(engine, database_url, nats_url, keys, definitions, home)
            found = [*asyncio.run(examine(patient)), *verify(patient, answered)]
    finally:
        engine.dispose()
    return [f"{one.name}, {one.promise}: {one.wrong}" for one in found if not one.holds]
