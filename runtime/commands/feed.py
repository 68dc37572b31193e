"""`roundtrip feed`: which formats there are, what one makes of a payload, and what was put into quarantine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from domain.records import Record
from feeds.feed import FeedError, Payload, feed_format, feed_formats
from feeds.segment import parse_message
from runtime.workspace_view import SEGMENT

app = typer.Typer(no_args_is_help=True, help="Feed formats, and trying one out.")


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
