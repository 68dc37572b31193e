"""`roundtrip import`: a file's rows into the log, with a preview, a progress bar and the refused rows aside."""

from __future__ import annotations

import json
import os
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from adapters.database import open_database
from adapters.files import File, NoFileError, open_file
from adapters.imports import Progress as Imported
from adapters.projections.definitions import load_workspace
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from runtime.engines import open_engines
from runtime.imports import mapped, rejected_file, run_import
from runtime.settings import load_settings

_PREVIEWED = 10
console = Console(stderr=True)


class ImportProblem(Exception):
    """What the user can mend."""


def import_file(
    file: Annotated[str, typer.Argument(help="A path, or a URL as s3://bucket/users.csv.gz.")],
    feed: Annotated[str, typer.Option(help="The feed that the rows come in by.")],
    mapping: Annotated[Path, typer.Option("--mapping", "-m", help="How columns become records (YAML).")],
    kind: Annotated[str, typer.Option(help="csv, ndjson or parquet, where the name does not tell.")] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Show the first rows' records only.")] = False,
) -> None:
    """Import a file: CSV, NDJSON or Parquet, also .gz and .zst, from here or an object store.

    Ended in the middle, the same command goes on and takes no row in twice.
    """
    try:
        rules = _mapping(mapping)
        with open_file(file, kind) as opened:
            if preview:
                _preview(opened, feed, rules)
            else:
                _import(opened, feed, rules)
    except (ImportProblem, NoFileError, FileError) as error:
        typer.echo(f"roundtrip: {error}", err=True)
        raise typer.Exit(2) from None


def _mapping(path: Path) -> Mapping:
    try:
        return Mapping.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ImportProblem(f"{path}: cannot be read ({type(error).__name__})") from error
    except yaml.YAMLError as error:
        raise ImportProblem(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or 'mapping'}: {e['msg']}" for e in error.errors())
        raise ImportProblem(f"{path}: " + "; ".join(lines)) from error


def _preview(file: File, feed: str, mapping: Mapping) -> None:
    for number, row in islice(mapped(file, feed, mapping, time.time_ns() // 1_000), _PREVIEWED):
        if isinstance(row, Rejected):
            typer.echo(f"{number}: rejected: {row.code}: {row.reason}")
        else:
            typer.echo(f"{number}: {json.dumps(msgspec.json.decode(row.state), ensure_ascii=False)}")


def _import(file: File, feed: str, mapping: Mapping) -> None:
    with open_engines(load_settings(os.environ)) as engines:
        database = open_database(engines.database_url, application="import")
        try:
            _declared(database, feed)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[rows]} rows, {task.fields[rejected]} rejected"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=console) as bar:
                task = bar.add_task("importing", total=file.size, rows="0", rejected="0")

                def show(at: Imported) -> None:
                    rows = f"{at.taken + at.known:,}"
                    bar.update(task, completed=file.tell(), rows=rows, rejected=f"{at.rejected:,}")

                done = run_import(database, file, feed, mapping, time.time_ns() // 1_000, show)
        finally:
            database.dispose()
    typer.echo(f"{done.taken:,} new, {done.known:,} known before, {done.rejected:,} rejected.")
    if done.rejected:
        typer.echo(f"The rejected rows are in {rejected_file(file.name)}, each with its number and reason.")


def _declared(engine: Engine, feed: str) -> None:
    with engine.connect() as connection:
        workspace = load_workspace(connection)
    feeds = workspace.feeds if workspace is not None else {}
    if feed not in feeds:
        known = ", ".join(sorted(feeds)) or "none"
        raise ImportProblem(f"the workspace declares no feed '{feed}'; declared are: {known}")
