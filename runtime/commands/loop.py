"""`roundtrip loop`: how loops do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.errors import LoopError
from runtime.loop_measures import measure_loops
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="See how loops do.")


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
        typer.echo(loop)
        for hop in measured["hops"]:
            typer.echo(f"  {hop['audience']} → {hop['connection']}")
            for line in _lines(hop):
                typer.echo(f"    {line}")


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


def _lines(hop: dict[str, Any]) -> Iterator[str]:
    sent = ", ".join(f"{count:,} {status}" for status, count in hop["records"].items() if count)
    yield f"{hop['members']:,} in it; {sum(hop['records'].values()):,} records{': ' if sent else ''}{sent}"
    if "orphaned" in hop:
        returned = "" if hop.get("returned") is None else f" ({hop['returned']:.1%} of what was delivered)"
        yield f"{hop['answered']:,} answered{returned}; {hop['orphaned']:,} orphaned"
    for name, seconds in hop["seconds"].items():
        if seconds:
            word = name.replace("_", " ")
            yield f"{word}: {seconds['p50']:,.1f} s in the middle, {seconds['p99']:,.1f} s at p99"
