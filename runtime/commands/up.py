"""`roundtrip up` and `roundtrip demo`: everything at once, in one process tree."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console

from runtime.settings import load_settings


def up(
    workspace: Annotated[Path | None, typer.Option("--workspace", "-w", help="The workspace file.")] = None,
) -> None:
    """Run everything: the engines, and every part, in one process tree. Ctrl-C ends all of it."""
    from runtime import up as process_tree

    console = Console()
    settings = load_settings(os.environ)
    file = workspace or settings.workspace
    with process_tree.prepared(settings, file, process_tree.http_fixed()) as ready:
        console.print(f"Roundtrip listens at {ready.url}; the API token is in {settings.home / 'api-token'}")
        process_tree.run(settings, ready, Event(), lambda line: console.print(line))


def demo(
    users: Annotated[int, typer.Option(min=1, help="App users in the story.")] = 2000,
    seed: Annotated[int, typer.Option(help="Another seed tells another story.")] = 1,
) -> None:
    """Run the reference loop on embedded engines and simulators, and show it."""
    from runtime.demo.run import WORKSPACE, run_demo

    raise typer.Exit(run_demo(load_settings(os.environ), WORKSPACE, users, seed, Console()))
