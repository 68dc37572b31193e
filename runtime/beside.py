"""Keeps what is read beside the log near its end: the index by subject, and what answers what was sent."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from adapters.database import STORE_ERRORS, kind_of
from adapters.keys.management import KeyManagementError
from adapters.projections.checkpoint import LostLeadError
from adapters.projections.subjects import index_subjects
from runtime.answers import tie_answers

#: How long they may stay behind without need, in seconds.
WAIT_S: Final = 2.0
_READERS: Final[tuple[Callable[[Connection], int], ...]] = (index_subjects, tie_answers)

log = structlog.get_logger("beside")


def read_beside(engine: Engine, stop: Event) -> None:
    """Reads until `stop`. Of several processes one does at a time."""
    while not stop.is_set():
        taken = [_turn(engine, reader) for reader in _READERS]
        if not any(taken):
            stop.wait(WAIT_S)


def _turn(engine: Engine, reader: Callable[[Connection], int]) -> int:
    try:
        with engine.begin() as connection:
            return reader(connection)
    except (*STORE_ERRORS, LostLeadError, KeyManagementError) as error:
        log.warning("a reader beside the log stands still", reason=kind_of(error))
        return 0
