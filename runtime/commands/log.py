"""`roundtrip log`: reading, verifying and archiving the log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from adapters.database import open_as_owner
from adapters.log.chain import read_chain_head, read_chain_heads
from adapters.log.line import line_of_row
from adapters.log.persistence import OWN_APPLICATION, schema_of
from adapters.log.witness import line_of, read_witness
from runtime.engines import open_engines
from runtime.log_archive import archive_log, to_archive
from runtime.log_export import export_log
from runtime.log_tail import chosen, follow, kinds_of, place_of, subjects_of
from runtime.settings import load_settings
from runtime.verify import verify_log

app = typer.Typer(no_args_is_help=True, help="Read, verify, export and archive the log.")
console = Console(stderr=True, soft_wrap=True, highlight=False)


Subject = Annotated[str | None, typer.Option(help="Only a person's rows: KIND:VALUE, as user_id:u-17.")]
Kind = Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")]


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
    if last is not None and last < first:
        raise typer.BadParameter(f"{last} lies before --from {first}", param_hint="--to")
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
    out = file.open("w") if file else sys.stdout
    try:
        with _log("log heads") as database, database.begin() as connection:
            found = iter([read_chain_head(connection)]) if last else read_chain_heads(connection, after)
            for head in found:
                out.write(line_of(head) + "\n")
    finally:
        if file:
            out.close()


@app.command()
def tail(
    start: Annotated[str | None, typer.Option("--from", help="A position or a time.")] = None,
    endless: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    subject: Subject = None,
    kind: Kind = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Without --from: the last so many.")
    ] = 10,
) -> None:
    """Print rows of the log, one JSON object a line."""
    kinds = kinds_of(kind) if kind else None
    with _log("log tail") as database:
        with database.connect() as connection:
            head = read_chain_head(connection).position
            after = max(head - lines, 0) if start is None else place_of(connection, start) - 1
            subjects = subjects_of(connection, subject) if subject else None
        out = sys.stdout.buffer
        with suppress(KeyboardInterrupt, BrokenPipeError):
            rows = follow(database, after, endless=endless)
            found = False
            for row in chosen(rows, subjects, kinds):
                found = True
                out.write(line_of_row(row) + b"\n")
                if endless:
                    out.flush()
            out.flush()
            if not found:
                console.print(f"no such row from position {after + 1} to the log's end")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="FILE.ndjson or FILE.parquet")],
    start: Annotated[str | None, typer.Option("--from", help="The first: a position or a time.")] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The last position, or a time before which.")
    ] = None,
    subject: Subject = None,
    kind: Kind = None,
) -> None:
    """Write the log to a file, in constant memory."""
    kinds = kinds_of(kind) if kind else None
    with _log("log export") as database, _bar("exporting") as bar:
        with database.connect() as connection:
            first = 1 if start is None else place_of(connection, start)
            last = read_chain_head(connection).position
            if end is not None:
                last = min(last, place_of(connection, end) - (0 if end.isdecimal() else 1))
            subjects = subjects_of(connection, subject) if subject else None
        task = bar.add_task("", total=max(last - first + 1, 0))
        count = export_log(
            database,
            file,
            first,
            last,
            lambda at: bar.update(task, completed=at - first + 1),
            partial(chosen, subjects=subjects, kinds=kinds),
        )
    console.print(f"{count:,} rows in {file}.")


@app.command()
def archive(
    keep: Annotated[
        int, typer.Option(min=0, help="So many full partitions stay in the database, the newest.")
    ] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be moved.")] = False,
    application: Annotated[
        str, typer.Option(help="Archive the log of this `eventsourcing` application.")
    ] = OWN_APPLICATION,
) -> None:
    """Move the oldest partitions of the log to the lake. Whoever reads the log reads on, across both."""
    settings = load_settings(os.environ)
    home = schema_of(application)
    location = f"{settings.lake}/{'log' if home == 'public' else home}"
    with open_engines(settings) as engines:
        url = settings.database_owner_url or engines.database_url
        owner = open_as_owner(url, application="log archive", schema=home)
        try:
            if dry_run:
                with owner.connect() as connection:
                    moved = to_archive(connection, keep)
            else:
                with _bar("archiving") as bar:
                    task = bar.add_task("", total=None)
                    moved = archive_log(
                        owner, location, keep, lambda done, of: bar.update(task, completed=done, total=of)
                    )
        finally:
            owner.dispose()
    for partition in moved:
        typer.echo(f"partition {partition.number}: positions {partition.first} to {partition.last}")
    verb = "would go" if dry_run else "went"
    console.print(f"{len(moved)} partitions {verb} to {location}.")


@contextmanager
def _log(name: str) -> Iterator[Engine]:
    with open_engines(load_settings(os.environ)) as engines:
        database = engines.open(name)
        try:
            yield database
        finally:
            database.dispose()


def _bar(what: str) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
