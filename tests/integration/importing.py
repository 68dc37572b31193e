"""What tests of imports share: a database whose workspace declares feeds, the command, and what is in the log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from adapters.database import open_database
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.pipeline import Pipeline, drain
from tests.keys import KEYS, said
from tests.servers import REPOSITORY

FEEDS: dict[str, Any] = {"workspace": "imports", "feeds": {"crm": {"format": "files"}}}


def declare(database: str, document: dict[str, Any]) -> None:
    """Has the log and the projections of this database say what the workspace declares."""
    engine = open_database(database, application="test", keys=KEYS)
    try:
        with open_definitions(database) as definitions:
            apply_workspace(engine, definitions, Workspace.model_validate(document))
            drain(Pipeline(engine, definitions), 2**62)
    finally:
        engine.dispose()


class Command:
    """The console script on a database and in a working directory of its own."""

    def __init__(self, database: str, nats_url: str, place: Path, **environment: str) -> None:
        self.environment = {
            **os.environ,
            "ROUNDTRIP_HOME": str(place / "home"),
            "ROUNDTRIP_DATABASE_URL": database,
            "ROUNDTRIP_NATS_URL": nats_url,
            "PYTHONPATH": str(REPOSITORY),
            **environment,
        }
        self._place = place

    def __call__(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runtime.cli", *map(str, arguments)],
            env=self.environment | environment,
            cwd=self._place,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def mapping(self, **rules: Any) -> Path:
        file = self._place / "mapping.yaml"
        file.write_text(yaml.safe_dump({"identifiers": {"user_id": "user"}, "id": "user"} | rules))
        return file


@contextmanager
def running_command(command: Command, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The console script as long as the block lasts."""
    process = subprocess.Popen([sys.executable, "-m", "runtime.cli", *arguments], env=command.environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def records(database: str) -> list[dict[str, Any]]:
    """The records that stand in the log, in its order."""
    return said(database, "track.", "identify.", "page.", "screen.")


def message_ids(database: str) -> Counter[str]:
    """How often each message stands in the log."""
    return Counter(record["message_id"] for record in records(database))
