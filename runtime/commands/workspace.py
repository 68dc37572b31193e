"""`roundtrip migrate`, `apply` and `status`: the schema, what is declared, and where everything stands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from runtime.commands.opened import database_of
from runtime.engines import open_engines
from runtime.settings import load_settings


def migrate() -> None:
    """Bring the database to this release's schema."""
    from runtime.migrate import migrate as run

    settings = load_settings(os.environ)
    with open_engines(settings) as engines:
        run(settings.database_owner_url or engines.database_url)
    Console().print("The database has this release's schema.")


def apply(file: Annotated[Path, typer.Argument(help="The workspace file.")]) -> None:
    """Declare what a workspace file says. A file with a mistake is refused whole."""
    from runtime.definitions import apply_workspace, open_definitions
    from runtime.workspace_file import read_workspace

    workspace = read_workspace(file)
    with (
        open_engines(load_settings(os.environ)) as engines,
        database_of(engines, "apply") as database,
        open_definitions(engines.database_url) as definitions,
    ):
        changed = apply_workspace(database, definitions, workspace)
    follows = "; they take effect together: `roundtrip status` shows how far that is" if changed else ""
    Console().print(f"{changed} {'definition' if changed == 1 else 'definitions'} changed{follows}.")


def status() -> None:
    """Where everything stands, as JSON."""
    from runtime.status import read_status

    with open_engines(load_settings(os.environ)) as engines, database_of(engines, "status") as database:
        typer.echo(json.dumps(read_status(database), indent=2))
