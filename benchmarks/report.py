"""How a benchmark says what it found: figure, reference, ratio and goal, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    """One measurement. `goal` is the least that will do, or the most where `at_most` says so; `None` where the
    issue sets none."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool:
        if self.goal is None:
            return True
        return self.value <= self.goal if self.at_most else self.value >= self.goal


class Arguments(NamedTuple):
    """What the command line says."""

    quick: bool
    json: Path | None


def arguments(description: str | None) -> Arguments:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller run, within 60 s")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    found = parser.parse_args()
    return Arguments(found.quick, found.json)


def conclude(title: str, figures: Sequence[Figure], asked: Arguments, notes: Sequence[str] = ()) -> None:
    """Prints and writes the figures; exits 1 naming what falls short of its goal."""
    table = Table(title=title, title_justify="left")
    for name in ("figure", "value", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for figure in figures:
        sign = "≤" if figure.at_most else "≥"
        goal = "" if figure.goal is None else f"{sign} {figure.goal:,g}{' ✓' if figure.reached else ' ✗'}"
        table.add_row(figure.name, f"{figure.value:,.4g} {figure.unit}", goal)
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note)
    if asked.json is not None:
        asked.json.write_text(json.dumps([figure._asdict() for figure in figures], indent=2))
    short = [figure for figure in figures if not figure.reached]
    if short:
        sys.exit("; ".join(f"{f.name}: {f.value:,.4g} {f.unit}, the goal is {f.goal:,g}" for f in short))
