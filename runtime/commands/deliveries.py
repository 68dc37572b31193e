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
from runtime.replay import chosen
from runtime.replay import replay as replay_letters
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


@app.command()
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Dead letters' ids; without any, all that are meant.")
    ] = None,
    connection: Annotated[str, typer.Option(help="Those of this connection.")] = "",
    reason: Annotated[str, typer.Option(help="Those whose reason has this text in it.")] = "",
    fix: Annotated[
        list[str] | None, typer.Option("--set", help="A field set right, as name=value; of one letter.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many of the newest.")] = 10_000,
) -> None:
    """Send dead letters again, each once, with what holds now: what was overtaken since is passed over, and said."""
    if not (ids or connection or reason):
        raise typer.BadParameter("name letters by id, --connection or --reason")
    fixed = dict(_field(one) for one in fix or ())
    if fixed and len(ids or ()) != 1:
        raise typer.BadParameter("--set is for one letter, named by its id")
    with _log() as log:
        done = replay_letters(log, chosen(log, ids or (), connection, reason, limit), fixed, dry_run=dry_run)
        log.commit()
    for one in done:
        typer.echo(json.dumps({name: value for name, value in one._asdict().items() if value}))
    sent = sum(not one.why_not for one in done)
    typer.echo(f"{sent} {'would be' if dry_run else 'are'} sent again, {len(done) - sent} not.", err=True)


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"'{text}' sets no field; write it as name=value")
    return name, value


@contextmanager
def _log() -> Iterator[Connection]:
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("deliveries")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
