"""`roundtrip imports`: the declared imports, when they ran and run, and running one by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from adapters.import_runs import Run, latest_runs
from adapters.projections.definitions import load_workspace
from domain.imports import next_due
from domain.tracking_plan import plans_of_feeds
from domain.workspace import Workspace
from runtime.engines import open_engines
from runtime.scheduled.run import ImportBusyError, Place, now, place_of, run_declared
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Declared imports: files and queries, on a schedule.")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@app.command("list")
def show() -> None:
    """The declared imports, their latest runs, and when they run next."""
    with _opened() as (place, workspace):
        with place.engine.connect() as connection:
            latest = latest_runs(connection)
        for name, one in sorted(workspace.imports.items()):
            source = "a query" if one.query is not None else ", ".join(one.files)
            typer.echo(f"{name}: {source}, by feed {one.feed}")
            if one.schedule:
                typer.echo(
                    f"    schedule {one.schedule} ({one.timezone}), next {_time(next_due(one, now()))}"
                )
            if name in latest:
                typer.echo(f"    latest {_told(latest[name])}")


def _told(run: Run) -> str:
    counts = f"{run.taken:,} new, {run.known:,} known before, {run.rejected:,} rejected"
    said = f": {run.reason}" if run.reason else f", {counts}" if run.ended_at else ""
    return f"{_time(run.started_at)}: {run.outcome}{said}"


@app.command()
def run(name: Annotated[str, typer.Argument(help="A declared import.")]) -> None:
    """Run an import now, besides its schedule."""
    with _opened() as (place, workspace):
        if name not in workspace.imports:
            known = ", ".join(sorted(workspace.imports)) or "none"
            typer.echo(f"roundtrip: no import '{name}'; declared are: {known}", err=True)
            raise typer.Exit(2)
        declared = workspace.imports[name]
        plan = plans_of_feeds(workspace.tracking_plans).get(declared.feed)
        try:
            done = run_declared(place, name, declared, plan, now())
        except ImportBusyError as error:
            typer.echo(f"roundtrip: {error}", err=True)
            raise typer.Exit(2) from None
    typer.echo(f"{name}: {done.taken:,} new, {done.known:,} known before, {done.rejected:,} rejected.")
    if done.reason:
        typer.echo(f"roundtrip: import '{name}' failed: {done.reason}", err=True)
        raise typer.Exit(1)


@contextmanager
def _opened() -> Iterator[tuple[Place, Workspace]]:
    settings = load_settings(os.environ)
    with open_engines(settings) as engines:
        database = engines.open("imports")
        try:
            with database.connect() as connection:
                workspace = load_workspace(connection)
            if workspace is None:
                typer.echo("roundtrip: no workspace is applied yet; see `roundtrip apply`", err=True)
                raise typer.Exit(2)
            yield place_of(database, settings.home), workspace
        finally:
            database.dispose()


def _time(at: int | None) -> str:
    return "" if at is None else (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%SZ")
