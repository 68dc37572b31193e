"""One command for each part of the machine. Each loads what it needs and nothing else: processes start often."""

from __future__ import annotations

from threading import Thread
from typing import Annotated

import typer
import uvloop

from runtime.commands.opened import database_of, external, stop_signal


def serve(http_only: Annotated[bool, typer.Option("--http-only", hidden=True)] = False) -> None:
    """Run the HTTP API, and take in delivery outcomes and records from NATS."""
    from runtime.serve import serve as run

    settings, engines = external()
    run(settings, engines, http_only)


def pipeline() -> None:
    """Run the pipeline: identity, profiles, audiences, routing. One leads, further ones stand by."""
    from adapters.history.tables import History
    from runtime.ahead import Ahead, Place
    from runtime.backfill import LakeBackfill
    from runtime.beside import read_beside
    from runtime.collector import spare_the_collector
    from runtime.definitions import open_definitions
    from runtime.leading import run_pipeline

    spare_the_collector()
    settings, engines = external()
    stop = stop_signal()
    with database_of(engines, "pipeline") as database, open_definitions(engines.database_url) as definitions:
        # Nothing waits for it, so it ends with the process wherever it is.
        Thread(target=read_beside, args=(database, stop), daemon=True).start()
        history = History(settings.lake)
        assert engines.keys is not None, "a database is opened with keys"
        ahead = Ahead(Place(engines.database_url, engines.keys, history))
        run_pipeline(database, definitions, stop, LakeBackfill(history), ahead)


def relay() -> None:
    """Run the relay: every row of the log onto NATS. One leads, further ones stand by."""
    from runtime.relay import relay_until_stopped

    settings, engines = external()
    with database_of(engines, "relay") as database:
        uvloop.run(relay_until_stopped(database, engines.nats_url, settings.nats_replicas))


def deliver(
    only: Annotated[
        list[str] | None, typer.Option(help="Deliver this connection only; may be repeated.")
    ] = None,
) -> None:
    """Run the delivery workers: outbound batches to the destinations."""
    from runtime.collector import spare_the_collector
    from runtime.deliver import deliver_until_stopped

    spare_the_collector()
    settings, engines = external()
    with database_of(engines, "deliver") as database:
        uvloop.run(
            deliver_until_stopped(database, engines.nats_url, frozenset(only or ()), settings.nats_replicas)
        )


def schedule() -> None:
    """Begin declared imports and connections' runs when they are due. One leads, further ones stand by."""
    from runtime.scheduled.run import place_of
    from runtime.scheduled.schedule import run_schedule

    settings, engines = external()
    stop = stop_signal()
    with database_of(engines, "schedule", pool_size=20) as database:
        run_schedule(place_of(database, settings.home), stop)


def pull() -> None:
    """Pull the feeds whose vendors offer a stream. One process pulls a feed, further ones stand by."""
    from runtime.pull.run import pull_until_stopped

    _, engines = external()
    with database_of(engines, "pull") as database:
        uvloop.run(pull_until_stopped(database))


def history() -> None:
    """Write the log into the lake as a history that can be asked. One leads, further ones stand by."""
    from adapters.history.tables import History
    from runtime.definitions import open_definitions
    from runtime.history import run_history

    settings, engines = external()
    stop = stop_signal()
    with database_of(engines, "history") as database, open_definitions(engines.database_url) as definitions:
        run_history(database, definitions, History(settings.lake), stop)
