"""`roundtrip`: one command for each part of the machine, and one for all of it."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated

import structlog
import typer
import uvloop
from rich.console import Console
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from adapters.database import RoleError
from adapters.keys.management import KeyManagementError
from adapters.lake.errors import LakeError
from adapters.log.witness import WitnessError
from domain.audiences.definition import InvalidAudiences
from runtime.audiences.bulk import HistoryBehindError
from runtime.audiences.export import ExportFormatError
from runtime.commands import audience, connection, deliveries, feed, imports, profile, tracking_plan
from runtime.commands import connector as connector_commands
from runtime.commands.erase import erase
from runtime.commands.import_file import import_file
from runtime.commands.keys import app as key_commands
from runtime.commands.log import app as log_commands
from runtime.commands.rebuild import rebuild
from runtime.connection_preview import PreviewError
from runtime.definitions import WorkspaceError, apply_workspace, open_definitions, read_workspace
from runtime.deliveries import DeliveryError
from runtime.embedded.errors import EmbeddedError
from runtime.engines import Engines, open_engines
from runtime.erase import EraseError
from runtime.log_archive import ArchiveError
from runtime.log_export import ExportError
from runtime.log_tail import PlaceError
from runtime.migrate import MigrationError
from runtime.profiles import NobodyError
from runtime.rebuild.errors import RebuildError
from runtime.settings import Settings, SettingsError, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(audience.app, name="audience")
app.add_typer(profile.app, name="profile")
app.add_typer(feed.app, name="feed")
app.add_typer(connector_commands.app, name="connector")
app.add_typer(connection.app, name="connection")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(log_commands, name="log")
app.command("import")(import_file)
app.add_typer(imports.app, name="imports")
app.command()(erase)
app.add_typer(key_commands, name="keys")
app.add_typer(tracking_plan.app, name="plan")
app.add_typer(tracking_plan.app, name="tracking-plan", hidden=True)
app.command()(rebuild)
console = Console()

WorkspaceOption = Annotated[Path | None, typer.Option("--workspace", "-w", help="The workspace file.")]


@app.command()
def up(workspace: WorkspaceOption = None) -> None:
    """Run everything: the engines, and every part, in one process tree. Ctrl-C ends all of it."""
    from runtime import up as process_tree

    settings = load_settings(os.environ)
    file = workspace or settings.workspace
    with process_tree.prepared(settings, file, process_tree.http_fixed()) as ready:
        console.print(f"Roundtrip listens at {ready.url}; the API token is in {settings.home / 'api-token'}")
        process_tree.run(settings, ready, Event(), lambda line: console.print(line))


@app.command()
def serve(http_only: Annotated[bool, typer.Option("--http-only", hidden=True)] = False) -> None:
    """Run the HTTP API, and take in delivery outcomes and records from NATS."""
    from runtime.serve import serve as run

    settings, engines = _external()
    run(settings, engines, http_only)


@app.command()
def pipeline() -> None:
    """Run the pipeline: identity, profiles, audiences, routing. One leads, further ones stand by."""
    from runtime.pipeline import run_pipeline

    _, engines = _external()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _database(engines, "pipeline") as database, open_definitions(engines.database_url) as definitions:
        run_pipeline(database, definitions, stop)


@app.command()
def relay() -> None:
    """Run the relay: every row of the log onto NATS. One leads, further ones stand by."""
    from runtime.relay import relay_until_stopped

    settings, engines = _external()
    with _database(engines, "relay") as database:
        uvloop.run(relay_until_stopped(database, engines.nats_url, settings.nats_replicas))


@app.command()
def deliver(
    only: Annotated[
        list[str] | None, typer.Option(help="Deliver this connection only; may be repeated.")
    ] = None,
) -> None:
    """Run the delivery workers: outbound batches to the destinations."""
    from runtime.deliver import deliver_until_stopped

    settings, engines = _external()
    with _database(engines, "deliver") as database:
        uvloop.run(
            deliver_until_stopped(database, engines.nats_url, frozenset(only or ()), settings.nats_replicas)
        )


@app.command()
def schedule() -> None:
    """Run the declared imports when they are due. One leads, further ones stand by."""
    from runtime.scheduled.run import place_of
    from runtime.scheduled.schedule import run_schedule

    settings, engines = _external()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _database(engines, "schedule", pool_size=20) as database:
        run_schedule(place_of(database, settings.home), stop)


@app.command()
def pull() -> None:
    """Pull the feeds whose vendors offer a stream. One process pulls a feed, further ones stand by."""
    from runtime.pull.run import pull_until_stopped

    _, engines = _external()
    with _database(engines, "pull") as database:
        uvloop.run(pull_until_stopped(database))


@app.command()
def history() -> None:
    """Write the log into the lake as a history that can be asked. One leads, further ones stand by."""
    from adapters.history.tables import History
    from runtime.history import run_history

    settings, engines = _external()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _database(engines, "history") as database, open_definitions(engines.database_url) as definitions:
        run_history(database, definitions, History(settings.lake), stop)


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    from runtime.migrate import migrate as run

    settings = load_settings(os.environ)
    with open_engines(settings) as engines:
        run(settings.database_owner_url or engines.database_url)
    console.print("The database has this release's schema.")


@app.command()
def apply(file: Annotated[Path, typer.Argument(help="The workspace file.")]) -> None:
    """Declare what a workspace file says. A file with a mistake is refused whole."""
    workspace = read_workspace(file)
    with (
        open_engines(load_settings(os.environ)) as engines,
        _database(engines, "apply") as database,
        open_definitions(engines.database_url) as definitions,
    ):
        changed = apply_workspace(database, definitions, workspace)
    console.print(f"{changed} definitions changed.")


@app.command()
def status() -> None:
    """Where everything stands, as JSON."""
    from runtime.status import read_status

    with open_engines(load_settings(os.environ)) as engines, _database(engines, "status") as database:
        typer.echo(json.dumps(read_status(database), indent=2))


@app.command()
def demo(
    users: Annotated[int, typer.Option(min=1, help="App users in the story.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed tells another story.")] = 1,
) -> None:
    """Run the reference loop on embedded engines and simulators, and show it."""
    from runtime.demo.run import WORKSPACE, OtherStory, run_demo

    try:
        code = run_demo(load_settings(os.environ), WORKSPACE, users, seed, console)
    except OtherStory as error:
        _fail(str(error))
    raise typer.Exit(code)


def _external() -> tuple[Settings, Engines]:
    """A single part works on servers that somebody else runs."""
    settings = load_settings(os.environ)
    if settings.database_url is None or settings.nats_url is None:
        _fail(
            "a part alone needs ROUNDTRIP_DATABASE_URL and ROUNDTRIP_NATS_URL; `roundtrip up` runs"
            " everything, with engines of its own"
        )
    assert settings.database_url is not None
    assert settings.nats_url is not None
    return settings, Engines(settings.database_url, settings.nats_url, keys=settings.keys)


@contextmanager
def _database(engines: Engines, name: str, pool_size: int = 5) -> Iterator[Engine]:
    engine = engines.open(name, pool_size=pool_size)
    try:
        yield engine
    finally:
        engine.dispose()


def _fail(message: str) -> None:
    typer.echo(f"roundtrip: {message}", err=True)
    raise typer.Exit(2)


#: What a user can mend; its text says how.
_MENDABLE = (
    SettingsError,
    KeyManagementError,
    EraseError,
    WorkspaceError,
    DeliveryError,
    EmbeddedError,
    MigrationError,
    WitnessError,
    ArchiveError,
    ExportError,
    ExportFormatError,
    HistoryBehindError,
    InvalidAudiences,
    LakeError,
    NobodyError,
    PlaceError,
    PreviewError,
    RebuildError,
)


def main() -> None:
    """The console script. What a user can mend is said in one line."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # What is loaded by now stays: the collector need not go through it again and again.
    gc.freeze()
    try:
        app()
    except _MENDABLE as error:
        typer.echo(f"roundtrip: {error}", err=True)
        sys.exit(2)
    except ProgrammingError as error:
        if not isinstance(error.orig, RoleError):
            raise
        typer.echo(f"roundtrip: {error.orig}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
