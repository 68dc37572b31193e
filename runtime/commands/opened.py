"""The database and the servers as commands open them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from sqlalchemy import Engine

from runtime.engines import Engines
from runtime.errors import SettingsError
from runtime.settings import Settings, load_settings


def external() -> tuple[Settings, Engines]:
    """A single part works on servers that somebody else runs. Raises `SettingsError` where none are named."""
    settings = load_settings(os.environ)
    if settings.database_url is None or settings.nats_url is None:
        raise SettingsError(
            "a part alone needs ROUNDTRIP_DATABASE_URL and ROUNDTRIP_NATS_URL; `roundtrip up` runs"
            " everything, with engines of its own"
        )
    return settings, Engines(settings.database_url, settings.nats_url, keys=settings.keys)


@contextmanager
def database_of(engines: Engines, name: str, pool_size: int = 5) -> Iterator[Engine]:
    """The database, closed at the end."""
    engine = engines.open(name, pool_size=pool_size)
    try:
        yield engine
    finally:
        engine.dispose()


def stop_signal() -> Event:
    """An event that SIGTERM and SIGINT set."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
