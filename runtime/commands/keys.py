"""`roundtrip keys`: the master key."""

from __future__ import annotations

import os

import typer

from adapters.keys.rotation import rewrap
from runtime.engines import open_engines
from runtime.errors import SettingsError
from runtime.master_key import MISSING
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="The master key that wraps the data keys.")


@app.callback()
def keys() -> None:
    """The master key that wraps the data keys."""


@app.command()
def rotate() -> None:
    """Wrap every data key by the first master key named. The others may be destroyed afterwards.

    Ended in the middle, the same command goes on.
    """
    with open_engines(load_settings(os.environ)) as engines:
        if engines.keys is None:
            raise SettingsError(MISSING)
        database = engines.open("keys rotate")
        try:
            count = rewrap(database, engines.keys)
        finally:
            database.dispose()
    typer.echo(f"{count:,} data keys are wrapped anew; no other master key is needed any more.")
