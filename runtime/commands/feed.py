"""`roundtrip feed`: which formats there are, what one makes of a payload, and what was put into quarantine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from nats.js.api import Header
from sqlalchemy import Connection

from adapters.bus.connection import connect
from adapters.bus.publish import Message, publish_batch
from adapters.bus.streams import ensure_streams
from adapters.quarantine import Quarantined, find_aside, forget_aside, put_asides
from domain.records import Record
from feeds.feed import FeedError, Payload, feed_format, feed_formats
from feeds.segment import parse_message
from runtime.engines import Engines, open_engines
from runtime.settings import load_settings
from runtime.workspace_view import SEGMENT

app = typer.Typer(no_args_is_help=True, help="Feed formats, trying one out, and the quarantine.")


@app.command("list")
def list_formats() -> None:
    """The formats that are installed."""
    for name in sorted({SEGMENT, *feed_formats()}):
        typer.echo(name)


@app.command("test")
def test(
    name: Annotated[str, typer.Argument(help="The format, as a workspace names it.")],
    file: Annotated[Path, typer.Argument(help="A payload: the body of one request, as it comes.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header that came along, as 'Name: value'.")
    ] = None,
    secret_env: Annotated[
        str | None, typer.Option(help="The variable with the feed's secret; without it nothing is verified.")
    ] = None,
    url: Annotated[str, typer.Option(help="The address that the vendor called, where that is signed.")] = "",
) -> None:
    """Run a payload through a format and show its records, one JSON object a line. Stores nothing."""
    headers = dict(_header(one) for one in header or ())
    try:
        payload = Payload(headers, file.read_bytes(), time.time_ns() // 1_000, url)
        records = _records(name, payload, secret_env)
    except FeedError as error:
        for problem in error.problems:
            typer.echo(f"{problem.pointer or '/'}: {problem.code}: {problem.detail}", err=True)
        raise typer.Exit(1) from None
    except (LookupError, OSError) as error:
        typer.echo(f"roundtrip: {error}", err=True)
        raise typer.Exit(2) from None
    for record in records:
        # Decoded once more, as a body may hold line breaks between its values.
        typer.echo(msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(record))))


@app.command()
def quarantined(
    feed: Annotated[str | None, typer.Option(help="Of this feed only.")] = None,
) -> None:
    """The payloads that could not be taken in, oldest first: id, feed, code and reason, a line each."""
    with open_engines(load_settings(os.environ)) as engines, _connected(engines) as connection:
        for item in put_asides(connection, feed):
            typer.echo(f"{item.id}\t{item.feed}\t{item.code}\t{item.reason}")


@app.command()
def replay(
    ids: Annotated[list[str], typer.Argument(help="Ids, as `roundtrip feed quarantined` tells them.")],
) -> None:
    """Hand payloads from quarantine in again, on their feed's NATS subject."""
    with open_engines(load_settings(os.environ)) as engines, _connected(engines) as connection:
        for id in ids:
            item = find_aside(connection, id)
            if item is None:
                typer.echo(f"roundtrip: nothing in quarantine has the id {id}", err=True)
                raise typer.Exit(2)
            asyncio.run(_hand_in(engines.nats_url, item))
            forget_aside(connection, id)
            connection.commit()
    typer.echo(f"{len(ids)} handed in again.")


async def _hand_in(nats_url: str, item: Quarantined) -> None:
    client = await connect(nats_url, "roundtrip feed replay")
    try:
        await ensure_streams(client.jetstream())
        # Whoever published it may have named it; by that name the stream would pass it over for two minutes.
        kept = {name: value for name, value in item.headers.items() if name != Header.MSG_ID.value.lower()}
        await publish_batch(client.jetstream(), [Message(f"roundtrip.in.{item.feed}", item.body, kept)])
    finally:
        await client.close()


@contextmanager
def _connected(engines: Engines) -> Iterator[Connection]:
    engine = engines.open("feed")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _records(name: str, payload: Payload, secret_env: str | None) -> Sequence[Record]:
    if name == SEGMENT:
        return parse_message(name, payload)
    found = feed_format(name)
    if secret_env is not None:
        if not os.environ.get(secret_env):
            raise LookupError(f"the environment variable {secret_env} is not set; it holds the feed's secret")
        found.verify(payload, os.environ[secret_env])
    return found.parse(name, payload)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"'{text}' is no header; write it as 'Name: value'")
    return name.strip().lower(), value.strip()
