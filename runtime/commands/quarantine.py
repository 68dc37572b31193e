"""`roundtrip quarantine`: what could not be taken in or applied, why, and handing it in again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Connection

from adapters.log.read import read_positions
from adapters.quarantine import put_asides
from runtime.commands.opened import database_of
from runtime.engines import Engines, open_engines
from runtime.quarantine import find
from runtime.quarantine import replay as replay_one
from runtime.settings import load_settings
from runtime.times import written

app = typer.Typer(
    no_args_is_help=True, help="What could not be taken in or applied, and handing it in again."
)


@app.command("list")
def list_items(
    feed: Annotated[str | None, typer.Option(help="Of this feed only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 1_000,
) -> None:
    """What is in quarantine, oldest first, a line each: id, feed, code, reason and, of a record, its position."""
    with _connected() as (_, connection):
        for item in put_asides(connection, feed, limit):
            where = "" if item.position is None else f"\tposition {item.position}"
            typer.echo(f"{item.id}\t{item.feed}\t{item.code}\t{item.reason}{where}")


@app.command()
def show(id: Annotated[str, typer.Argument(help="An id, as `roundtrip quarantine list` tells it.")]) -> None:
    """One item with its payload, as JSON. This shows personal data."""
    with _connected() as (_, connection):
        item = find(connection, id)
        body = item.body
        if item.position is not None:
            [row] = read_positions(connection, [item.position])
            body = row.state
    told = item._asdict() | {"received_at": written(item.received_at), "body": body.decode(errors="replace")}
    typer.echo(json.dumps(told, indent=2, ensure_ascii=False))


@app.command()
def replay(
    ids: Annotated[list[str], typer.Argument(help="Ids, as `roundtrip quarantine list` tells them.")],
) -> None:
    """Hand in again: payloads on their feed's NATS subject, records as a new row of the log."""
    with _connected() as (engines, connection):
        for id in ids:
            done = replay_one(connection, engines.nats_url, id)
            connection.commit()
            typer.echo(f"{id}: {done}")


@contextmanager
def _connected() -> Iterator[tuple[Engines, Connection]]:
    with (
        open_engines(load_settings(os.environ)) as engines,
        database_of(engines, "quarantine") as database,
        database.connect() as connection,
    ):
        yield engines, connection
