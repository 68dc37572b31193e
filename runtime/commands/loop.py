"""`roundtrip loop`: how loops do."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.errors import LoopError
from runtime.loop_measures import measure_loops
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="See how loops do.")
_COLUMNS = (
    "hop",
    "members",
    "sent",
    "delivered",
    "suppressed",
    "answered",
    "returned",
    "orphaned",
    "p50",
    "p99",
)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Of this loop only.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say of each hop what was sent, what came back and how soon, and what followed."""
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("loop show")
        try:
            found = measure_loops(engine)
        finally:
            engine.dispose()
    loops = found["loops"]
    if name and name not in loops:
        raise LoopError(f"loop '{name}' is not declared; declared are: {', '.join(loops) or 'none'}")
    shown = {name: loops[name]} if name else loops
    if as_json:
        typer.echo(json.dumps({"position": found["position"], "loops": shown}, indent=2))
        return
    for loop, measured in shown.items():
        table = Table(*_COLUMNS, title=loop, title_justify="left")
        for hop in measured["hops"]:
            table.add_row(*_cells(hop))
        Console(highlight=False).print(table)


@app.command()
def lift(name: Annotated[str, typer.Argument(help="The loop.")]) -> None:
    """Say how much more of those told convert than of those held out, with a confidence interval, as JSON."""
    from adapters.history.tables import History
    from runtime.loop_lift import measure_lift

    settings = load_settings(os.environ)
    with open_engines(settings) as engines, open_definitions(engines.database_url) as definitions:
        engine = engines.open("loop lift")
        try:
            found = measure_lift(engine, definitions, History(settings.lake), name)
        finally:
            engine.dispose()
    typer.echo(json.dumps(found, indent=2))


def _cells(hop: dict[str, Any]) -> list[str]:
    answered = hop["seconds"].get("delivered_to_answered", {})
    returned = hop.get("returned")
    return [
        f"{hop['audience']} → {hop['connection']}",
        f"{hop['members']:,}",
        f"{sum(hop['records'].values()):,}",
        f"{hop['records'].get('delivered', 0):,}",
        f"{hop['records'].get('suppressed', 0):,}",
        f"{hop['answered']:,}",
        "" if returned is None else f"{returned:.1%}",
        f"{hop['orphaned']:,}" if "orphaned" in hop else "",
        f"{answered['p50']:,.1f} s" if answered else "",
        f"{answered['p99']:,.1f} s" if answered else "",
    ]
