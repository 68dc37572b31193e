"""Sealing a file's rows in the process that reads them, while the rows before them are committed."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Engine

from adapters.database import STORE_ERRORS
from adapters.log.ahead import seal_ahead
from runtime.import_batches import Batch

#: `new`: many people are taken for new where some of them are; `any`: all of them are looked up; `None`: not at all.
How = Literal["new", "any"] | None


class Ahead:
    """How a file's batches are sealed ahead, by what became of those before."""

    def __init__(self, how: How) -> None:
        self.how = how

    def in_vain(self, known: int) -> None:
        """One had to be opened again: so many of its rows were in the log already, or else somebody was known or
        erased."""
        self.how = "any" if self.how and not known else None


def sealed(engine: Engine, batch: Batch, how: How) -> Batch:
    """The batch as it is written; as it was, where the store cannot be asked for keys, or somebody was erased of whom
    nothing has come since."""
    if how is None or not batch.entries:
        return batch
    try:
        with engine.connect() as connection:
            ahead = seal_ahead(connection, batch.entries, probes=how == "new")
    except STORE_ERRORS:
        # Whoever writes has the same store, and tells what is the matter with it.
        return batch
    return batch if ahead is None else batch._replace(entries=(), ahead=ahead)
