"""`roundtrip deliveries`: what became of the records that were to go out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy import Connection

from runtime.deliveries import list_deliveries, show_delivery
from runtime.engines import open_engines
from runtime.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Outbound records, and what became of them.")


class Status(StrEnum):
    """What an outbound record can have come to."""

    pending = "pending"
    delivered = "delivered"
    dead = "dead"
    suppressed = "suppressed"


@app.command("list")
def list_outbound(
    status: Annotated[Status, typer.Option(help="With this status.")] = Status.dead,
    connection: Annotated[str, typer.Option(help="Of this connection only.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="So many of the newest.")] = 100,
) -> None:
    """Dead letters and why, or others: one JSON object a line, the newest first, with no personal data."""
    with _log() as log:
        for one in list_deliveries(log, status.value, connection, limit):
            typer.echo(json.dumps(one.as_json()))


@app.command()
def show(id: Annotated[str, typer.Argument(help="The outbound record's id.")]) -> None:
    """One outbound record, as JSON: what was to be sent, to whom, why, and what became of it. Personal data."""
    with _log() as log:
        typer.echo(json.dumps(show_delivery(log, id), indent=2, ensure_ascii=False))


@contextmanager
def _log() -> Iterator[Connection]:
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("deliveries")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
