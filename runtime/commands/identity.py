"""`roundtrip identity`: why identifiers are one person's."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from runtime.engines import open_engines
from runtime.identity_explain import explain_identity
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Look at who is who.")


@app.callback()
def _group() -> None:
    """Keeps `explain` a command of its own while it is the only one."""


@app.command()
def explain(
    who: Annotated[
        str, typer.Argument(metavar="KIND:VALUE", help="As user_id:u-17 or email:ann@example.com.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say which identifiers are one person's, by which records, and what was refused."""
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("identity explain")
        try:
            found = explain_identity(engine, who)
        finally:
            engine.dispose()
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{who} is of profile {found['profile']}, as of position {found['position']}")
    for one in found["identifiers"]:
        typer.echo(f"  {one['identifier']}, since position {one['since']}")
    for edge in found["edges"]:
        joins = " — ".join(edge["joins"]) or "(erased)"
        became = "".join(f"; profile {gone} became this one" for gone in edge["merged"])
        typer.echo(f"position {edge['position']}, {edge['at']}, {edge['record']}: {joins}{became}")
    for one in found["refused"]:
        typer.echo(
            f"position {one['position']}: an identifier of the kind {one['kind']} was refused: {one['reason']}"
        )
