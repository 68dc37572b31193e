"""`roundtrip import`: files' rows into the log, with a preview, a progress bar and the refused rows aside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from adapters.files import File, NoFileError, find_files, open_file
from adapters.imports import ImportMovedError
from adapters.imports import Progress as Imported
from adapters.projections.definitions import load_workspace
from domain.tracking_plan import PlanOfFeed, plans_of_feeds
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from feeds.table import Mapped
from runtime.engines import open_engines
from runtime.import_batches import mapped
from runtime.import_reader import Reader
from runtime.imports import rejected_file, run_import
from runtime.settings import load_settings
from runtime.yaml_file import YamlError, read_yaml

_PREVIEWED = 10
console = Console(stderr=True)


class ImportProblem(Exception):
    """What the user can mend."""


def import_file(
    files: Annotated[
        list[str],
        typer.Argument(help="Paths, folders, URLs as s3://bucket/users.csv.gz, or patterns of them."),
    ],
    feed: Annotated[str, typer.Option(help="The feed that the rows come in by.")],
    mapping: Annotated[Path, typer.Option("--mapping", "-m", help="How columns become records (YAML).")],
    kind: Annotated[str, typer.Option(help="csv, ndjson or parquet, where the name does not tell.")] = "",
    preview: Annotated[bool, typer.Option("--preview", help="Show the first rows' records only.")] = False,
) -> None:
    """Import files: CSV, NDJSON or Parquet, also .gz and .zst, from here or an object store.

    Ended in the middle, the same command goes on and takes no row in twice.
    """
    try:
        rules = _mapping(mapping)
        names = [name for pattern in files for name in find_files(pattern)]
        if preview:
            with open_file(names[0], kind) as opened:
                _preview(opened, feed, rules)
            return
        with open_engines(load_settings(os.environ)) as engines:
            database = engines.open("import")
            try:
                plan = _plan_of(database, feed)
                with Reader() as reader:
                    for number, name in enumerate(names, 1):
                        with open_file(name, kind) as opened:
                            _import(database, opened, feed, rules, plan, f"{number}/{len(names)}", reader)
            finally:
                database.dispose()
    except (ImportProblem, ImportMovedError, NoFileError, FileError, YamlError) as error:
        typer.echo(f"roundtrip: {error}", err=True)
        raise typer.Exit(2) from None


def _mapping(path: Path) -> Mapping:
    file = read_yaml(path)
    try:
        return Mapping.model_validate(file.document)
    except ValidationError as error:
        raise YamlError(file.mistakes(error)) from error


def _preview(file: File, feed: str, mapping: Mapping) -> None:
    """Each of the first rows as the record that it becomes, and its values beside the cells they come from."""
    place = "traits" if mapping.type == "identify" else "properties"
    _, found = next(mapped(file, feed, mapping, time.time_ns() // 1_000), (0, Mapped((), (), ())))
    records = zip(found.numbers, found.records, strict=True)
    rows = [*records, *((one.number, one) for one in found.rejected)]
    for number, row in sorted(rows, key=itemgetter(0))[:_PREVIEWED]:
        if isinstance(row, Rejected):
            typer.echo(f"{number}: rejected: {row.code}: {row.reason}")
            continue
        record = msgspec.json.decode(msgspec.json.encode(row))
        typer.echo(f"{number}: {_json(record)}")
        for name, one in mapping.values.items():
            cell = record["body"]["row"].get(one.column)
            typer.echo(f"    {name} ({one.kind}): {_json(cell)} → {_json(record['body'][place].get(name))}")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _import(
    database: Engine,
    file: File,
    feed: str,
    mapping: Mapping,
    plan: PlanOfFeed | None,
    place: str,
    reader: Reader,
) -> None:
    ran = False
    with _bar(file, place) as bar:

        def report(at: Imported, read: int) -> None:
            nonlocal ran
            ran = True
            bar(at, read)

        done = run_import(database, file, feed, mapping, time.time_ns() // 1_000, report, plan, reader=reader)
    before = "" if ran else "imported before, and passed over; it had "
    typer.echo(
        f"{file.name}: {before}{done.taken:,} new, {done.known:,} known before, {done.rejected:,} rejected."
    )
    if done.rejected:
        typer.echo(f"The rejected rows are in {rejected_file(file.name)}, each with its number and reason.")


@contextmanager
def _bar(file: File, place: str) -> Iterator[Any]:
    """Shows how far an import is, how many rows a second it takes in, and how long it still takes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s, {task.fields[rejected]:,} rejected"
        ),
        TimeRemainingColumn(),
    )
    began, first = time.monotonic(), 0
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(place, total=file.size, rows=0, rate=0.0, rejected=0)

        def show(at: Imported, read: int) -> None:
            nonlocal first
            rows = at.taken + at.known + at.rejected
            first = first or rows
            rate = (rows - first) / max(time.monotonic() - began, 0.001)
            bar.update(task, completed=read, rows=rows, rate=rate, rejected=at.rejected)

        yield show


def _plan_of(engine: Engine, feed: str) -> PlanOfFeed | None:
    """The feed's tracking plan, where it has one. Raises `ImportProblem` where there is no such feed."""
    with engine.connect() as connection:
        workspace = load_workspace(connection)
    feeds = workspace.feeds if workspace is not None else {}
    if feed not in feeds:
        known = ", ".join(sorted(feeds)) or "none"
        raise ImportProblem(f"the workspace declares no feed '{feed}'; declared are: {known}")
    return plans_of_feeds(workspace.tracking_plans).get(feed) if workspace is not None else None
