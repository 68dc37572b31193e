"""`roundtrip rebuild`: the projections folded again from the log alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as Bar
from rich.text import Text

from runtime.definitions import open_definitions
from runtime.engines import open_engines
from runtime.log_tail import place_of
from runtime.rebuild.compare import Comparison, Followed
from runtime.rebuild.errors import RebuildError
from runtime.rebuild.parting import Parting
from runtime.rebuild.run import Task, alone
from runtime.rebuild.work import PROJECTIONS
from runtime.settings import load_settings

console = Console(highlight=False, soft_wrap=True)


def rebuild(
    projections: Annotated[
        list[str] | None, typer.Argument(help=f"Which: {', '.join(PROJECTIONS)}. All if none is named.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="A position or a time: the state then, in a schema of its own."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare with the live ones, and change nothing.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = min(os.cpu_count() or 1, 8),
) -> None:
    """Fold projections again from the log alone, beside the live ones, and put them in their place.

    Goes on where it was killed. With --verify the exit code is 1 where something differs.
    """
    from runtime.rebuild.command import rebuild_as_of, rebuild_live, verify_live

    chosen = _chosen(projections or [])
    if as_of is not None and verify:
        raise typer.BadParameter("--as-of has nothing live to compare with; leave --verify out")
    settings = load_settings(os.environ)
    with open_engines(settings) as engines:
        url = engines.database_url
        database = engines.open("rebuild")
        try:
            with open_definitions(url) as definitions, alone(database), _bar() as report:
                task = Task(url, engines.keys, settings.home / "rebuild", chosen, jobs=jobs)
                if as_of is not None:
                    with database.connect() as connection:
                        goal = place_of(connection, as_of) - (0 if as_of.isdecimal() else 1)
                    schema = rebuild_as_of(database, task._replace(goal=goal), definitions, report)
                elif verify:
                    verified = verify_live(database, task, definitions, report)
                else:
                    position = rebuild_live(database, task, definitions, report)
        finally:
            database.dispose()
    if as_of is not None:
        console.print(f"The state at position {goal:,} is in the schema {schema}: {', '.join(chosen)}.")
    elif verify:
        _show(verified.tables, verified.followed, verified.parting)
    else:
        console.print(f"Switched over at position {position:,}: {', '.join(chosen)}.")


def _chosen(named: Sequence[str]) -> tuple[str, ...]:
    for name in named:
        if name not in PROJECTIONS:
            raise RebuildError(f"'{name}' is no projection; there are: {', '.join(PROJECTIONS)}")
    return tuple(name for name in PROJECTIONS if name in named or not named)


def _show(tables: Sequence[Comparison], followed: Followed | None, parting: Parting | None) -> None:
    for one in tables:
        mark = "[green]equal[/]"
        if not one.equal:
            mark = "[red]differs[/], first at " + (str(one.differences[0]) if one.differences else "?")
        console.print(f"{one.projection}: {one.live.rows:,} rows, {mark}")
    if parting is not None:
        console.print(str(parting))
    if followed is not None:
        console.print(
            f"membership and profile changes in the log: [red]{followed.differing:,} differ[/]; {followed}"
        )
    if followed is not None or not all(one.equal for one in tables):
        raise typer.Exit(1)


class _Rate(ProgressColumn):
    """Rows of the log a second."""

    def render(self, task: Bar) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} rows/s")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=None)
        yield lambda at, goal: bar.update(task, completed=at, total=goal)
