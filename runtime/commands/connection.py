"""`roundtrip connection`: looking at what a connection sends."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from runtime.connection_preview import preview_connection, shown
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
