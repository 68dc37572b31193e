"""`roundtrip doctor`: whether the platform is well, and with --deep whether all that it promises holds."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from runtime.commands.opened import database_of
from runtime.definitions import open_definitions
from runtime.doctor.finding import Finding
from runtime.engines import open_engines
from runtime.settings import load_settings


def doctor(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Walk the log, and compare all that was made of it with a clean rebuild."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Findings as JSON, once all are there.")] = False,
) -> None:
    """Examine the platform, running or at rest, and change nothing. The exit code is 1 where something is wrong."""
    settings = load_settings(os.environ)
    from runtime.doctor.verify import Patient, examine, verify

    with (
        open_engines(settings) as engines,
        database_of(engines, "doctor") as database,
        open_definitions(engines.database_url) as definitions,
        _bar(Console(stderr=as_json, highlight=False, soft_wrap=True)) as bar,
    ):
        patient = Patient(
            database, engines.database_url, engines.nats_url, engines.keys, definitions, settings.home
        )
        shown: dict[str, TaskID] = {}

        def progress(name: str, at: int, of: int) -> None:
            if name not in shown:
                for task in shown.values():
                    bar.update(task, visible=False)
                shown[name] = bar.add_task(name, total=of)
            bar.update(shown[name], completed=at, total=of)

        def findings() -> Iterator[Finding]:
            yield from (at_once := asyncio.run(examine(patient)))
            # Without the schema there is nothing that could be walked.
            if deep and at_once[0].holds:
                yield from verify(patient, progress=progress)

        found = []
        for one in findings():
            found.append(one)
            if not as_json:
                bar.console.print(_line(one))
    if as_json:
        typer.echo(json.dumps([{**one._asdict(), "holds": one.holds} for one in found], indent=2))
    if not all(one.holds for one in found):
        raise typer.Exit(1)


def _line(one: Finding) -> str:
    if one.holds:
        return f"[green]✓[/] {one.name:<8} {one.promise} ({one.examined})"
    return f"[red]✗[/] {one.name:<8} {one.promise}: {escape(one.wrong)}"


def _bar(console: Console) -> Progress:
    """Its bars go, and the findings stay."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
