"""Sealing a file's rows before the log's head is locked for them: in the process that reads them where that has the
time, else in the one that writes them."""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import Engine

from adapters.database import STORE_ERRORS
from adapters.keys.keyring import OPTION, Keyring
from adapters.keys.management import KeyManagement
from adapters.log.ahead import seal_ahead
from runtime.import_batches import Batch

#: `new`: many people are taken for new where some of them are; `any`: all of them are looked up; `None`: not at all.
How = Literal["new", "any"] | None


#: Keys that an import remembers: most files name each person once, or in a run.
_REMEMBERED: Final = 20_000


def keyed(engine: Engine, keys: KeyManagement) -> Engine:
    """The engine with a keyring of its own, which remembers no more than an import has a use for."""
    return engine.execution_options(**{OPTION: Keyring(keys, _REMEMBERED)})


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
