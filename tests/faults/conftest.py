"""A whole Roundtrip with one push tool that it tells of newcomers, to break something of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.of_loops.vendors import Simulator
from tests.faults.traffic import PEOPLE, person

pytest.register_assert_rewrite("tests.faults.verifying")

APP_ID = "8250eaf6-1a58-489e-b136-7c74a864b434"
WORKSPACE = Path(__file__).with_name("workspace.yaml")
SECRETS = {"ROUNDTRIP_APP_WRITE_KEY": "faults-write-key", "ROUNDTRIP_PUSH_API_KEY": "faults-push-key"}


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Simulator]:
    """The push tool. It knows everybody who may call, and takes a request with the same idempotency key for the same
    one."""
    options = ("--api-key", SECRETS["ROUNDTRIP_PUSH_API_KEY"], "--app-id", APP_ID)
    tool = Simulator("push_tool", "push", tmp_path, options)
    try:
        tool.wait()
        tool.post(
            "behaviours",
            [{"external_id": person(number), "outcome": "delivered"} for number in range(PEOPLE)],
        )
        yield tool
    finally:
        tool.kill()
