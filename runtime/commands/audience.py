"""`roundtrip audience`: looking at audiences, before they are declared and after."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from sqlalchemy import Engine

from adapters.history.tables import History
from adapters.projections.checkpoint import read_checkpoint
from domain.audiences.definition import Audience, AudienceName
from domain.audiences.durations import parse_duration
from domain.audiences.explanation import Clause
from runtime.audiences.bulk import history_now
from runtime.audiences.explain import explain_membership, explain_membership_then
from runtime.audiences.export import Format, export_members
from runtime.audiences.membership_log import members_at, sizes
from runtime.audiences.preview import preview_audiences
from runtime.definitions import Definitions, WorkspaceError, open_definitions
from runtime.engines import open_engines
from runtime.log_tail import place_of
from runtime.pipeline import CHECKPOINT
from runtime.settings import load_settings
from runtime.times import written
from runtime.yaml_file import YamlError, read_yaml

app = typer.Typer(no_args_is_help=True, help="Preview, export and explain audiences.")
_Declared = TypeAdapter(dict[AudienceName, Audience])
console = Console(stderr=True, soft_wrap=True, highlight=False)

AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="POSITION|TIME", help="As it was then, and not now.")
]


class _Place(NamedTuple):
    engine: Engine
    definitions: Definitions
    history: History


@contextmanager
def _roundtrip(what: str) -> Iterator[_Place]:
    settings = load_settings(os.environ)
    with open_engines(settings) as engines, open_definitions(engines.database_url) as definitions:
        engine = engines.open(what)
        try:
            yield _Place(engine, definitions, History(settings.lake))
        finally:
            engine.dispose()


@app.command()
def schema() -> None:
    """Print the JSON Schema of an audience, for editors that complete and check YAML."""
    typer.echo(json.dumps(Audience.model_json_schema(by_alias=True), indent=2))


@app.command()
def preview(
    file: Annotated[Path, typer.Argument(help="YAML: a name and its definition, or several.")],
    sample: Annotated[int, typer.Option(min=0, max=1_000, help="So many members are shown of each.")] = 5,
) -> None:
    """Say how large audiences would be, whom they share with others, and who would be in, before they are saved."""
    asked = _read(file)
    with _roundtrip("audience preview") as at, _bar() as bar:
        task = bar.add_task("", total=1.0)

        def progress(what: str, done: float) -> None:
            bar.update(task, description=what, completed=done)

        with history_now(at.engine, at.definitions, at.history, progress) as bulk:
            found = preview_audiences(bulk, asked, sample, progress)
    for one in found:
        share = f" ({one.size / one.people:.1%} of {one.people:,} people)" if one.people else ""
        typer.echo(f"{one.name}: {one.size:,}{share}, as of position {one.position}")
        if one.overlaps:
            table = Table("audience", "its size", "in both", "of the new one")
            for name, (size, both) in one.overlaps.items():
                table.add_row(name, f"{size:,}", f"{both:,}", f"{both / one.size:.1%}" if one.size else "-")
            Console().print(table)
        if one.sample:
            typer.echo("for example: " + ", ".join(one.sample))


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="The audience.")],
    to: Annotated[Path, typer.Option("--to", help="The file: .csv, .ndjson or .parquet.")],
    field: Annotated[
        list[str] | None,
        typer.Option(help="A column, as email=attribute.email or id=identifier.user_id; may be repeated."),
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Write who is in an audience to a file: profile, since when, and the fields that are asked for."""
    fields = dict(_field(said) for said in field or ())
    form = Format.of(to)
    with _roundtrip("audience export") as at, at.engine.connect() as connection:
        position = place_of(connection, as_of) if as_of else None
        count = export_members(connection, name, form, to, fields, position)
    typer.echo(f"{count:,} members of '{name}' are in {to}")


@app.command()
def size(
    name: Annotated[str, typer.Argument(help="The audience.")],
    every: Annotated[
        str, typer.Option(help="A figure at the end of each so long a time, as 1h or 1d.")
    ] = "1d",
    as_of: AsOf = None,
) -> None:
    """How an audience's size went: one JSON object a line, with log time and size; the last one is of now."""
    try:
        step = parse_duration(every)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with _roundtrip("audience size") as at, at.engine.connect() as connection:
        upto = place_of(connection, as_of) if as_of else read_checkpoint(connection, CHECKPOINT)
        for time, count in sizes(connection, name, upto, step):
            typer.echo(json.dumps({"at": written(time), "size": count}))


@app.command()
def members(
    name: Annotated[str, typer.Argument(help="The audience.")],
    as_of: AsOf = None,
) -> None:
    """Who is or was in an audience: one JSON object a line, with profile, entry's position and time."""
    with _roundtrip("audience members") as at, at.engine.connect() as connection:
        upto = place_of(connection, as_of) if as_of else read_checkpoint(connection, CHECKPOINT)
        for profile, (position, time) in sorted(members_at(connection, name, upto).items()):
            typer.echo(json.dumps({"profile": profile, "position": position, "entered_at": written(time)}))


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="The audience.")],
    person: Annotated[str, typer.Argument(metavar="KIND:VALUE", help="Whom, as user_id:u-17.")],
    as_of: AsOf = None,
) -> None:
    """Why somebody is in an audience or not: each clause, its value, the records behind it, what would change it."""
    with _roundtrip("audience explain") as at:
        if as_of is None:
            found, holds, not_so = explain_membership(at.engine, name, person), "is in", "is not in"
        else:
            change_of = at.definitions.change_of
            found = explain_membership_then(at.engine, name, person, as_of, change_of)
            holds, not_so = "was in", "was not in"
    verdict = holds if found.clause.holds else not_so
    typer.echo(f"{person} {verdict} '{name}' as of position {found.position}")
    for line in _lines(found.clause):
        typer.echo(line)
    if found.clause.change:
        typer.echo(f"to change that: {found.clause.change}")


def _lines(clause: Clause, depth: int = 0) -> Iterator[str]:
    mark = "✓" if clause.holds else "✗"
    because = f", because of {', '.join(map(str, clause.because))}" if clause.because else ""
    due = f", may change at {written(clause.due)}" if clause.due is not None else ""
    yield f"{'  ' * depth}{mark} {clause.text}: {clause.value}{because}{due}"
    for part in clause.parts:
        yield from _lines(part, depth + 1)


def _read(file: Path) -> dict[str, Audience]:
    try:
        said = read_yaml(file)
    except YamlError as error:
        raise WorkspaceError(str(error)) from error
    document = said.document
    inner = ("audiences",) if isinstance(document, dict) and "audiences" in document else ()
    declared = document["audiences"] if inner else document
    if not isinstance(declared, dict) or not declared:
        raise WorkspaceError(f"{file}: has no audience; write a name and under it match:")
    try:
        return _Declared.validate_python(declared)
    except ValidationError as error:
        raise WorkspaceError(said.mistakes(error, inner)) from error


def _field(said: str) -> tuple[str, str]:
    name, equals, source = said.partition("=")
    if not (name and equals and source.startswith(("identifier.", "attribute."))):
        raise typer.BadParameter(
            f"'{said}' is no field; write NAME=attribute.email or NAME=identifier.user_id"
        )
    return name, source


def _bar() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console)
