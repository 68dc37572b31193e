"""Keeps the index of the log by subject near the log's end."""

from __future__ import annotations

from threading import Event
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from adapters.projections.checkpoint import LostLeadError
from adapters.projections.subjects import index_subjects

#: How long the index may stay behind the log without need, in seconds. What it has not come to is read from the log.
WAIT_S: Final = 2.0

log = structlog.get_logger("subjects")


def run_subjects(engine: Engine, stop: Event) -> None:
    """Indexes until `stop`. Of several processes one does at a time."""
    while not stop.is_set():
        try:
            with engine.begin() as connection:
                rows = index_subjects(connection)
        except (SQLAlchemyError, LostLeadError) as error:
            log.warning("the index of the log stands still", reason=type(error).__name__)
            rows = 0
        if not rows:
            stop.wait(WAIT_S)
