"""A log of several partitions, for each test its own, and the place in the lake that they may go to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adapters.database import open_as_owner, open_database
from adapters.lake import files
from adapters.lake.place import url_of
from adapters.log.append import append
from adapters.log.read import DERIVED
from domain.records import Entry, derive_id
from tests.integration.archive.archiving import EACH, SIZES
from tests.integration.tampering import shrink_partitions
from tests.keys import KEYS


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(files, "GROUP_ROWS", 16)
    monkeypatch.setattr(files, "FILE_GROUPS", 3)
    return f"{url_of(str(tmp_path / 'lake'))}/log"


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    shrink_partitions(database, EACH)
    engine = open_database(database, application="test", keys=KEYS, pool_size=12)
    kinds = ["track", *DERIVED, "page"]
    number = 0
    for size in SIZES:
        some = []
        for _ in range(size):
            number += 1
            # A whole partition without one row that the pipeline would read.
            topic = (
                f"{'audience' if EACH <= number < 2 * EACH else kinds[number % len(kinds)]}.Näme {number % 3}"
            )
            subject = derive_id("subject", str(number % 5)) if number % 7 else None
            some.append(Entry(derive_id("test", str(number)), 1, topic, subject, os.urandom(number % 40)))
        with engine.begin() as connection:
            append(connection, some)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(database: str) -> Iterator[Engine]:
    owner = open_as_owner(database, application="test")
    yield owner
    owner.dispose()
