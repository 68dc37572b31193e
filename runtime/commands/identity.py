"""`roundtrip identity`: why identifiers are one person's, and that they are not."""

from __future__ import annotations

import getpass
import json
import os
import socket
from typing import Annotated

import typer

from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.errors import UnmergeError
from runtime.identity_explain import explain_identity
from runtime.settings import load_settings
from runtime.unmerge_request import unmerge_identity

app = typer.Typer(no_args_is_help=True, help="Look at who is who, and set it right.")


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
    for one in found["unmerged"]:
        typer.echo(f"position {one['position']}: unmerged from profile {one['from']}")
    for edge in found["edges"]:
        joins = " — ".join(edge["joins"]) or "(erased)"
        became = "".join(f"; profile {gone} became this one" for gone in edge["merged"])
        typer.echo(f"position {edge['position']}, {edge['at']}, {edge['record']}: {joins}{became}")
    for one in found["refused"]:
        typer.echo(
            f"position {one['position']}: an identifier of the kind {one['kind']} was refused: {one['reason']}"
        )


@app.command()
def unmerge(
    who: Annotated[
        str, typer.Argument(metavar="KIND:VALUE", help="The identifier to take out of its person.")
    ],
    apart_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="KIND:VALUE or POSITION",
            help="Another identifier of the person, or where `identity explain` shows the merge to undo. By default"
            " the identifier that the person was first seen by.",
        ),
    ] = "",
    asked_by: Annotated[
        str, typer.Option(help="Who asks; the log keeps a hash. By default this user and machine.")
    ] = "",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the pipeline.")] = 60.0,
) -> None:
    """Make one person two again, as if they had never been merged.

    Their records are folded again, and destinations are told the difference. They are not merged again but by an alias
    call. The exit code is 2 where it cannot be done.
    """
    settings = load_settings(os.environ)
    asking = asked_by or f"{getpass.getuser()}@{socket.gethostname()}"
    with open_engines(settings) as engines, open_definitions(engines.database_url) as definitions:
        engine = engines.open("identity unmerge")
        try:
            done = unmerge_identity(engine, definitions, who, apart_from, asking, wait)
        except UnmergeError as error:
            typer.echo(f"roundtrip: {error}", err=True)
            raise typer.Exit(2) from None
        finally:
            engine.dispose()
    typer.echo(json.dumps(done, indent=2))
