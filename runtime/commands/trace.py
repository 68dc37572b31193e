"""`roundtrip trace`: a message's whole circle."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from runtime.engines import open_engines
from runtime.settings import load_settings
from runtime.trace import trace as trace_of

_LEFT_OUT = frozenset({"what", "name", "position", "at", "after_seconds", "then"})


def trace(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ID|POSITION", help="An outbound record's id, or a row's position in the log."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Draw the circle of a message: what led to it, what became of it, and what followed."""
    with open_engines(load_settings(os.environ)) as engines:
        engine = engines.open("trace")
        try:
            found = trace_of(engine, which)
        finally:
            engine.dispose()
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    root = Tree(_line(found["circle"], found["place"]))
    _grow(root, found["circle"]["then"], found["place"])
    Console(highlight=False).print(root)


def _grow(tree: Tree, branches: list[dict[str, Any]], place: int) -> None:
    for branch in branches:
        _grow(tree.add(_line(branch, place)), branch["then"], place)


def _line(step: dict[str, Any], place: int) -> Text:
    more = ", ".join(f"{name} {_written(value)}" for name, value in step.items() if _told(name, value))
    after = f" (+{step['after_seconds']:,.1f} s)" if "after_seconds" in step else ""
    here = " ←" if step["position"] == place else ""
    words = {"sent": "sent by ", "withheld": "withheld from ", "entered": "entered ", "exited": "left "}
    said = f"{words.get(step['what'], '')}{step['name']}"
    return Text(f"{step['at']}{after}  {said}  [{step['position']}]{here}{f'  {more}' if more else ''}")


def _told(name: str, value: Any) -> bool:
    return name not in _LEFT_OUT and (name, value) != ("inferred", False)


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
