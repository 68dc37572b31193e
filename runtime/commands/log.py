"""`roundtrip log`: reading, verifying and archiving the log."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from adapters.database import open_database
from adapters.log.chain import read_chain_head, read_chain_heads
from adapters.log.witness import line_of, read_witness
from runtime.engines import open_engines
from runtime.settings import load_settings
from runtime.verify import verify_log

app = typer.Typer(no_args_is_help=True, help="Read, verify, export and archive the log.")
console = Console(stderr=True, soft_wrap=True, highlight=False)


@app.command()
def verify(
    first: Annotated[int, typer.Option("--from", min=1, help="The first position to verify.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="The last; the log's end if not given.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = min(os.cpu_count() or 1, 4),
    witness: Annotated[
        Path | None,
        typer.Option(help="Heads that somebody else holds, as `roundtrip log heads` writes them."),
    ] = None,
) -> None:
    """Walk the hash chain. Prints the head and its digest, or what is wrong first; then the exit code is 1."""
    began = time.monotonic()
    with open_engines(load_settings(os.environ)) as engines, _bar("verifying") as bar:
        task = bar.add_task("", total=None)
        verified = verify_log(
            engines.database_url,
            lambda done, of: bar.update(task, completed=done, total=of),
            first=first,
            last=last,
            jobs=jobs,
            witnessed=read_witness(witness) if witness else (),
        )
    fault = verified.fault
    if fault is not None:
        batch = f" (batch {fault.batch[0]} to {fault.batch[1]})" if fault.batch else ""
        typer.echo(f"{fault.kind} at position {fault.position}: {fault.what}{batch}")
        raise typer.Exit(1)
    seconds = time.monotonic() - began
    console.print(f"{verified.rows:,} rows in {verified.batches:,} batches hold together ({seconds:.1f} s).")
    typer.echo(f"{verified.head.position} {verified.head.digest.hex()}")


@app.command()
def heads(
    file: Annotated[
        Path | None, typer.Argument(help="A file to write; standard output if not given.")
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Only heads above this position.")] = 0,
    last: Annotated[bool, typer.Option("--last", help="Only the present head.")] = False,
) -> None:
    """Export the chain's heads, one JSON object a line, for a witness to hold."""
    with open_engines(load_settings(os.environ)) as engines:
        database = open_database(engines.database_url, application="log heads")
        out = file.open("w") if file else sys.stdout
        try:
            with database.begin() as connection:
                found = iter([read_chain_head(connection)]) if last else read_chain_heads(connection, after)
                for head in found:
                    out.write(line_of(head) + "\n")
        finally:
            database.dispose()
            if file:
                out.close()


def _bar(what: str) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
