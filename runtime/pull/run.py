"""`roundtrip pull`: the declared feeds that are pulled, each by one process alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from sqlalchemy import Engine, text

from adapters.database import STORE_ERRORS, kind_of
from adapters.projections.definitions import load_workspace
from domain.tracking_plan import plans_of_feeds
from domain.workspace import FILES, Workspace
from feeds.feed import Stream, feed_format
from runtime.identity_rules import rules_of
from runtime.pull.place import lock_key
from runtime.pull.stream import Source, pull
from runtime.signals import stop_on_signals
from runtime.workspace_view import SEGMENT, read_secret

#: How long a changed definition may take to hold here, in seconds.
REFRESH_S: Final = 1.0

log = structlog.get_logger("pull")


def is_pulled(workspace: Workspace) -> bool:
    """Whether the workspace declares a feed for this part."""
    return any(_stream_of(feed.format) is not None for feed in workspace.feeds.values())


def sources_of(workspace: Workspace | None, environ: Mapping[str, str]) -> dict[str, Source]:
    """The feeds that can be pulled. One whose secret is not to be had is named in the log, and left."""
    found: dict[str, Source] = {}
    plans = plans_of_feeds(workspace.tracking_plans) if workspace is not None else {}
    for name, feed in (workspace.feeds if workspace is not None else {}).items():
        stream = _stream_of(feed.format)
        if stream is None or feed.secret is None:
            continue
        secret, missing = read_secret(feed.secret, environ)
        if missing:
            log.error("feed cannot be pulled", feed=name, reason=missing)
            continue
        found[name] = Source(name, stream, feed.settings, secret, plans.get(name), rules_of(workspace))
    return found


def _stream_of(format: str) -> Stream | None:
    if format in (SEGMENT, FILES):
        return None
    try:
        return feed_format(format).stream
    except LookupError:
        return None


async def pull_until_stopped(engine: Engine) -> None:
    """Pulls until a signal; a workspace that changes takes effect within a second."""
    stop = stop_on_signals()
    running: dict[str, tuple[Source, asyncio.Event, asyncio.Task[None]]] = {}
    try:
        while not stop.is_set():
            try:
                wanted = await asyncio.to_thread(_declared, engine)
            except STORE_ERRORS as error:
                log.warning("the store does not answer", error=kind_of(error))
                wanted = {name: source for name, (source, _, _) in running.items()}
            for name, (source, ended, task) in list(running.items()):
                if wanted.get(name) != source or task.done():
                    ended.set()
                    # Between two batches or within one: what is not committed is asked for again.
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    del running[name]
            for name in wanted.keys() - running.keys():
                ended = asyncio.Event()
                task = asyncio.create_task(_alone(engine, wanted[name], ended), name=f"pull {name}")
                running[name] = (wanted[name], ended, task)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH_S)
    finally:
        for _, ended, task in running.values():
            ended.set()
            task.cancel()
        await asyncio.gather(*(task for _, _, task in running.values()), return_exceptions=True)


def _declared(engine: Engine) -> dict[str, Source]:
    with engine.connect() as connection:
        return sources_of(load_workspace(connection), os.environ)


async def _alone(engine: Engine, source: Source, stop: asyncio.Event) -> None:
    """Pulls while this process holds the feed; where another does, waits for it to go."""
    while not stop.is_set():
        try:
            with _held(engine, source.feed) as held:
                if held:
                    await pull(engine, source, stop)
        except STORE_ERRORS as error:
            log.warning("the store does not answer", error=kind_of(error))
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), REFRESH_S)


@contextmanager
def _held(engine: Engine, feed: str) -> Iterator[bool]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        key = {"key": lock_key(feed)}
        held = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar())
        try:
            yield held
        finally:
            if held:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)
