"""`roundtrip erasures`: which were asked for, and what is pending of each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Engine

from adapters.history.tables import History
from runtime.commands.opened import database_of
from runtime.engines import open_engines
from runtime.erasures import certificate, erasures
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Which erasures were asked for, and what is pending of each.")


@app.command("list")
def list_erasures(
    pending: Annotated[bool, typer.Option("--pending", help="Only those that are not complete.")] = False,
) -> None:
    """Every erasure, oldest first, a line of JSON each. The exit code is 1 while something of one is pending."""
    waiting = False
    with _opened() as (database, history):
        for one in erasures(database, history):
            waiting = waiting or bool(one["pending"])
            if one["pending"] or not pending:
                typer.echo(json.dumps(one))
    if waiting:
        raise typer.Exit(1)


@app.command()
def show(id: Annotated[str, typer.Argument(help="An id, as `roundtrip erasures list` tells it.")]) -> None:
    """One erasure's certificate, as it stands now. The exit code is 1 while something is pending."""
    with _opened() as (database, history):
        told = certificate(database, history, id)
    typer.echo(json.dumps(told, indent=2))
    if not told["complete"]:
        raise typer.Exit(1)


@contextmanager
def _opened() -> Iterator[tuple[Engine, History]]:
    settings = load_settings(os.environ)
    with open_engines(settings) as engines, database_of(engines, "erasures") as database:
        yield database, History(settings.lake)
