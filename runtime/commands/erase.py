"""`roundtrip erase`: a person is gone, and a certificate says so."""

from __future__ import annotations

import getpass
import json
import os
import socket
from typing import Annotated

import typer

from adapters.history.tables import History
from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.erase import erase_person, parse_identifier
from runtime.erasures import EraseError
from runtime.settings import load_settings


def erase(
    identifier: Annotated[str, typer.Argument(help="KIND:VALUE, as email:ann@example.com or user_id:u-17.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    asked_by: Annotated[
        str, typer.Option(help="Who asks; the log keeps a hash. By default this user and machine.")
    ] = "",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for each that has a part.")] = 60.0,
) -> None:
    """Erase a person: destroy the keys of all their records, and everything that was made of these.

    Prints a certificate. Ended in the middle, or with something pending, the same command goes on. The exit code
    is 1 while something is pending.
    """
    found = parse_identifier(identifier)
    if not yes:
        typer.confirm("This cannot be undone by anybody. Erase this person?", abort=True)
    settings = load_settings(os.environ)
    who = asked_by or f"{getpass.getuser()}@{socket.gethostname()}"
    with open_engines(settings) as engines, open_definitions(engines.database_url) as definitions:
        database = engines.open("erase")
        try:
            told = erase_person(
                database,
                definitions,
                History(settings.lake),
                found,
                who,
                wait,
                lambda line: typer.echo(line, err=True),
            )
        except EraseError as error:
            typer.echo(f"roundtrip: {error}", err=True)
            raise typer.Exit(2) from None
        finally:
            database.dispose()
    typer.echo(json.dumps(told, indent=2))
    if not told["complete"]:
        raise typer.Exit(1)
