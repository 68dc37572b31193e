"""`roundtrip connection`: looking at what a connection sends, and having it sent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Annotated

import typer

from runtime.commands.opened import database_of
from runtime.connection_preview import preview_connection, shown
from runtime.connection_replays import ask_for_replay, preview_replay
from runtime.connection_runs import ask_for_run, await_run, preview_run
from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Connections, and what they send.")


@app.callback()
def _connection() -> None:
    """Connections, and what they send."""


@app.command()
def preview(
    name: Annotated[str, typer.Argument(help="The connection.")],
    whom: Annotated[
        str,
        typer.Argument(
            metavar="KIND:VALUE|POSITION", help="A person, as user_id:u-17, or an outbound record."
        ),
    ],
) -> None:
    """Show exactly what would be sent, as JSON. Nothing is sent; no secret is read, and none is shown."""
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("connection preview")
        try:
            found = preview_connection(engine, name, whom, os.environ)
        finally:
            engine.dispose()
    typer.echo(json.dumps(shown(found), indent=2, ensure_ascii=False))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A connection with a schedule.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be sent, and send nothing.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the pipeline.")] = 60.0,
) -> None:
    """Have a connection send what is due now, besides its schedule."""
    with (
        open_engines(load_settings(os.environ)) as engines,
        database_of(engines, "connection run") as database,
        open_definitions(engines.database_url) as definitions,
    ):
        if dry_run:
            would = preview_run(database, name)
            typer.echo(
                f"As of position {would.position} a run of '{name}' would send {_counted(would.changes)}."
            )
            for reason, count in sorted(would.withheld.items()):
                typer.echo(f"withheld: {count:,}, {reason}")
            return
        position = ask_for_run(database, name)
        done = await_run(database, definitions, position, wait)
    if done is None:
        typer.echo(f"The run of '{name}' is at position {position}; the pipeline has not come to it yet.")
        raise typer.Exit(1)
    typer.echo(f"The run of '{name}' at position {position} sends {_counted(done)}.")


@app.command()
def replay(
    name: Annotated[str, typer.Argument(help="The connection.")],
    since: Annotated[
        str,
        typer.Option("--from", metavar="POSITION|TIME", help="Since when, as 1200 or 2026-11-24T09:00:00Z."),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be sent, and send nothing.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the pipeline.")] = 60.0,
) -> None:
    """Have a connection tell again what it was to tell since a position or time; or, of events, all that came since."""
    with (
        open_engines(load_settings(os.environ)) as engines,
        database_of(engines, "connection replay") as database,
        open_definitions(engines.database_url) as definitions,
    ):
        if dry_run:
            would = preview_replay(database, name, since)
            typer.echo(
                f"As of position {would.position} a replay of '{name}' from position {would.since} would send"
                f" {_counted(would.changes)}."
            )
            for reason, count in sorted(would.passed_over.items()):
                typer.echo(f"passed over: {count:,}, {reason}")
            return
        position = ask_for_replay(database, name, since)
        done = await_run(database, definitions, position, wait)
    if done is None:
        typer.echo(
            f"The replay of '{name}' is at position {position}; the pipeline has not come to its end yet."
        )
        raise typer.Exit(1)
    typer.echo(f"The replay of '{name}' at position {position} sends {_counted(done)}.")


def _counted(changes: Mapping[str, int]) -> str:
    told = [f"{change} {count:,}" for change, count in sorted(changes.items())]
    return ", ".join(told) or "nothing"
