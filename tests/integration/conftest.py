"""A whole Roundtrip, started once for all tests that speak to it from outside."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, create_engine

from adapters.database import open_database
from benchmarks.platform import Platform, platform
from domain.records import RECORD_TYPES
from runtime.engines import running
from tests.keys import KEYS, said
from tests.servers import wait_until

WRITE_KEY = "integration-write-key"
PUSH_SECRET = "integration-push-secret"
MPARTICLE_SECRET = "mparticle-key:mparticle-secret"
VENDOR_SECRET = "integration-vendor-secret"
PLANNED_WRITE_KEY = "integration-planned-write-key"
TOOLS_SECRET = "whsec_" + base64.b64encode(b"integration-tools-secret-of-32by").decode()


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A database of the test's own, opened as the application opens it."""
    engine = open_database(database, application="test", keys=KEYS)
    yield engine
    engine.dispose()


@pytest.fixture
def owner(database: str) -> Iterator[Engine]:
    """As whoever owns the tables, without the application's limits."""
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


class Roundtrip:
    """What a test sees of it: the HTTP API, and the log itself."""

    def __init__(self, ours: Platform) -> None:
        self.ours = ours
        self.url = ours.url
        self.http = httpx2.Client(base_url=ours.url, timeout=30.0, trust_env=False)

    def rows(self, message_id: str) -> list[dict[str, Any]]:
        """The records in the log with this message id."""
        engines = running(self.ours.home)
        assert engines is not None
        records = said(engines.database_url, *(f"{kind}." for kind in RECORD_TYPES))
        return [record for record in records if record["message_id"] == message_id]

    def position(self) -> int:
        """The log's last position."""
        return int(self.ours.status()["log"]["position"])

    def settle(self) -> dict[str, Any]:
        """Waits until the pipeline has taken in everything; the status then."""
        wait_until(lambda: not self.ours.status()["readers"]["pipeline"]["lag"], "the pipeline to catch up")
        return self.ours.status()


@pytest.fixture(scope="session")
def roundtrip() -> Iterator[Roundtrip]:
    environment = {
        "ROUNDTRIP_APP_WRITE_KEY": WRITE_KEY,
        "ROUNDTRIP_PUSH_WEBHOOK_SECRET": PUSH_SECRET,
        "ROUNDTRIP_TOOLS_SECRET": TOOLS_SECRET,
        "ROUNDTRIP_PLANNED_WRITE_KEY": PLANNED_WRITE_KEY,
        "ROUNDTRIP_MPARTICLE_SECRET": MPARTICLE_SECRET,
        "ROUNDTRIP_VENDOR_SECRET": VENDOR_SECRET,
    }
    with platform(Path(__file__).with_name("workspace.yaml"), environment) as ours:
        yield Roundtrip(ours)
