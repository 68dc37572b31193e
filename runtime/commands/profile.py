"""`roundtrip profile`: looking at one person."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.past import ChangeOf
from runtime.profile_then import show_attribute, show_profile_then
from runtime.profiles import show_profile
from runtime.settings import load_settings
from runtime.timeline import MOST, PAGE, show_timeline

app = typer.Typer(no_args_is_help=True, help="Look at a person.")

Who = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="As user_id:u-17 or email:ann@example.com.")]


@app.command()
def show(
    who: Who,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="A position or a time: the person as they were then.")
    ] = None,
) -> None:
    """Print what is known of a person: identifiers, attributes, traits, consent, memberships, what was sent."""
    with _opened() as (engine, url):
        if as_of is None:
            _print(show_profile(engine, who))
        else:
            _print(_with_definitions(url, lambda change_of: show_profile_then(engine, who, as_of, change_of)))


@app.command()
def timeline(
    who: Who,
    before: Annotated[
        int | None,
        typer.Option(min=1, help="A position: only what is below it, as `next` of the page before."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Records.")] = PAGE,
) -> None:
    """Print all that the log holds of a person, the newest first."""
    with _opened() as (engine, _):
        _print(show_timeline(engine, who, before, limit))


@app.command()
def attribute(who: Who, name: Annotated[str, typer.Argument(metavar="ATTRIBUTE", help="As plan.")]) -> None:
    """Print every value that was ever said of an attribute, and why the first one holds."""
    with _opened() as (engine, url):
        _print(_with_definitions(url, lambda change_of: show_attribute(engine, who, name, change_of)))


@contextmanager
def _opened() -> Iterator[tuple[Engine, str]]:
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("profile")
        try:
            yield engine, engines.database_url
        finally:
            engine.dispose()


def _with_definitions(url: str, ask: Callable[[ChangeOf], dict[str, Any]]) -> dict[str, Any]:
    with open_definitions(url) as definitions:
        return ask(definitions.change_of)


def _print(shown: dict[str, Any]) -> None:
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
