"""`roundtrip profile`: looking at one person."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from runtime.engines import open_engines
from runtime.profiles import show_profile
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Look at a person.")


@app.callback()
def _group() -> None:
    """Keeps `show` a command of its own while it is the only one."""


@app.command()
def show(
    who: Annotated[
        str, typer.Argument(metavar="KIND:VALUE", help="As user_id:u-17 or email:ann@example.com.")
    ],
) -> None:
    """Print what is known of a person: identifiers, attributes, traits, consent, memberships, what was sent."""
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("profile show")
        try:
            shown = show_profile(engine, who)
        finally:
            engine.dispose()
    typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
