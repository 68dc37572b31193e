"""`roundtrip connector`: which connectors there are, and whether one keeps its promises."""

from __future__ import annotations

from typing import Annotated

import typer

from adapters.connectors.conformance import try_out
from adapters.connectors.connector import connector, connector_names

app = typer.Typer(no_args_is_help=True, help="Connectors, and trying one out.")


@app.command("list")
def list_connectors() -> None:
    """The connectors that are installed, what each takes, and how much at a time."""
    for name in connector_names():
        found = connector(name)
        typer.echo(f"{name}\t{', '.join(sorted(found.changes))}\tup to {found.max_batch:,} records")


@app.command("test")
def test(name: Annotated[str, typer.Argument(help="The connector, as a workspace names it.")]) -> None:
    """Try a connector out on its own example, with nothing running and nothing sent."""
    try:
        results = try_out(connector(name))
    except (LookupError, ValueError) as error:
        typer.echo(f"roundtrip: {error}", err=True)
        raise typer.Exit(2) from None
    for result in results:
        typer.echo(f"{'fails' if result.problems else 'holds'}  {result.promise}")
        for problem in result.problems:
            typer.echo(f"       {problem}")
    if any(result.problems for result in results):
        raise typer.Exit(1)
