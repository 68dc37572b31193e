"""What the pipeline has answered to a request that stands in the log, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Engine, text

from adapters.log.read import read_positions
from domain.records import Row

_POLL_S: Final = 0.2


def answer_to(engine: Engine, id: str) -> Row | None:
    """The answer to the request with this id (a UUID): its stream's second row, `None` where there is none yet."""
    with engine.connect() as connection:
        position = connection.execute(
            text("SELECT position FROM log_stream WHERE stream_id = CAST(:id AS uuid) AND version = 2"),
            {"id": id},
        ).scalar()
        return read_positions(connection, [position])[0] if position is not None else None


def wait_for(holds: Callable[[], bool], seconds: float) -> bool:
    """Waits until it holds, at most so many seconds; whether it does."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
