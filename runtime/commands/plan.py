"""`roundtrip plan FILE`: what a workspace file would do. `roundtrip plan infer`: a tracking plan out of history."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from typer.core import TyperGroup

from runtime.commands.tracking_plan import infer


class _FileFirst(TyperGroup):
    """A group whose first word may be a file."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["file", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_FileFirst,
    no_args_is_help=True,
    help="`plan FILE`: what a workspace file would do. `plan infer`: a tracking plan out of history.",
)
app.command()(infer)


@app.command("file")
def plan_file(
    file: Annotated[Path, typer.Argument(help="The workspace file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a workspace file would do if it were applied: nothing is changed."""
    from adapters.history.tables import History
    from runtime.audiences.bulk import history_now
    from runtime.commands.opened import database_of
    from runtime.definitions import open_definitions
    from runtime.engines import open_engines
    from runtime.settings import load_settings
    from runtime.workspace_file import read_workspace
    from runtime.workspace_plan import plan_workspace

    workspace = read_workspace(file)
    settings = load_settings(os.environ)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=Console(stderr=True)
    )
    with (
        open_engines(settings) as engines,
        database_of(engines, "plan") as database,
        open_definitions(engines.database_url) as definitions,
        bar,
    ):
        task = bar.add_task("", total=1.0)

        def progress(what: str, done: float) -> None:
            bar.update(task, description=what, completed=done)

        with history_now(database, definitions, History(settings.lake), progress) as bulk:
            found = plan_workspace(bulk, workspace, progress)
    if as_json:
        several = {name: [one._asdict() for one in getattr(found, name)] for name in _LISTS}
        typer.echo(json.dumps({"position": found.position, **several, "notes": found.notes}, indent=2))
        return
    if not found.changes:
        typer.echo("Nothing would change.")
    for change in found.changes:
        typer.echo(f"{change.becomes}: {change.kind} '{change.name}'")
    if found.audiences:
        table = Table("audience", "enter", "leave", "then in it", "history is folded")
        for moves in found.audiences:
            figures = (f"{n:,}" for n in (moves.enter, moves.leave, moves.size))
            table.add_row(moves.audience, *figures, "yes" if moves.backfilled else "no")
        Console().print(table)
    for messages in found.messages:
        typer.echo(
            f"connection '{messages.connection}' is told of at most {messages.adds:,} people, and that at most"
            f" {messages.removes:,} left"
        )
    for circle in found.circles:
        way = " → ".join((*circle.audiences, circle.audiences[0]))
        typer.echo(f"could feed itself by what connection '{circle.connection}' brings back: {way}")
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"As of position {found.position}. `roundtrip apply {file}` does it.")


_LISTS = ("changes", "audiences", "messages", "circles")
