"""A file as it is read for an import: one batch ahead of whoever writes them, and sealed where there is time.

Whoever reads and whoever writes then have about as much to do, whatever reading costs.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from sqlalchemy import Engine

from adapters.database import open_database
from adapters.files import File, Options, open_file
from adapters.keys.management import KeyManagement
from domain.identity_rules import Rules
from feeds.mapping import Mapping
from feeds.rows import FileError
from runtime.import_batches import Batch, batches
from runtime.import_sealing import How, keyed, sealed


class Sealing(NamedTuple):
    """Where the keys are that states are sealed under, and what wraps them."""

    url: str
    keys: KeyManagement


class Asked(NamedTuple):
    """Which rows of which file as which records: what `batches` is told. With `sealing`, they are also sealed."""

    name: str
    kind: str
    options: Options
    digest: str
    feed: str
    mapping: Mapping
    began_at: int
    after: int
    rules: Rules
    sealing: Sealing | None

    @classmethod
    def of(
        cls,
        file: File,
        feed: str,
        mapping: Mapping,
        began_at: int,
        after: int,
        rules: Rules,
        sealing: Sealing | None = None,
    ) -> Asked:
        return cls(
            file.name, file.kind, file.options, file.digest, feed, mapping, began_at, after, rules, sealing
        )


class Reading:
    """One file's batches, those of `runtime.import_batches.batches`. Raises `FileError`."""

    def __init__(self, asked: Asked) -> None:
        with ExitStack() as opened:
            file = opened.enter_context(open_file(asked.name, asked.kind, asked.options))
            if file.digest != asked.digest:
                raise FileError(f"{asked.name}: was changed while it was imported; run the import again")
            self._engine: Engine | None = None
            if asked.sealing is not None:
                url, keys = asked.sealing
                engine = open_database(url, application="import, reader", pool_size=1)
                opened.callback(engine.dispose)
                self._engine = keyed(engine, keys)
            self._open = opened.pop_all()
        self._found = batches(file, asked.feed, asked.mapping, asked.began_at, asked.after, None, asked.rules)
        self._how: How = None
        #: What was read and is not asked for yet.
        self._ready: Batch | None = None
        self._sealed = self._ended = False
        self._fault: Exception | None = None

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._open.close()

    def next(self, how: How) -> Batch | None:
        """The next batch, as far as it is done; `None` behind the last. Those that follow are sealed as `how` says."""
        self._how = how
        if self._fault is not None:
            raise self._fault
        if self._ready is None:
            self._read_on()
        batch, self._ready = self._ready, None
        return batch

    def go_on(self) -> bool:
        """Reads the next batch, or seals it. Whether there was anything to do before it is asked for; what fails is
        raised to whoever asks for it."""
        if self._fault is not None or self._ended:
            return False
        try:
            if self._ready is None:
                self._read_on()
            elif not self._sealed and self._engine is not None and self._how is not None:
                self._ready, self._sealed = sealed(self._engine, self._ready, self._how), True
            else:
                return False
        except Exception as error:  # noqa: BLE001 (is raised to whoever asks for this batch)
            self._fault = error
        return True

    def _read_on(self) -> None:
        self._ready, self._sealed = next(self._found, None), False
        self._ended = self._ready is None
