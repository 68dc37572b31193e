"""What a CEL expression may ask for that transforms a record. Imported where there is one."""

from __future__ import annotations

import re
from typing import Final

import cel
from cel.stdlib import STDLIB_FUNCTIONS

from domain.transforming import SEEN

#: Of the CEL functions that there are, those that `cel.stdlib` does not list; `with` and `without` are ours.
_FUNCTIONS: Final = frozenset(
    {
        "bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "getDate", "getDayOfMonth",
        "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes",
        "getMonth", "getSeconds", "has", "int", "matches", "size", "startsWith", "string", "timestamp",
        "type", "uint", "with", "without",
    }
    | {name.rpartition(".")[2] for name in STDLIB_FUNCTIONS}
)  # fmt: skip
_LIBRARIES: Final = frozenset(name.partition(".")[0] for name in STDLIB_FUNCTIONS if "." in name)
_bound: Final = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\(\s*(\w+)\s*,").findall


def check_cel(expression: str) -> None:
    """Raises `ValueError` where it is no expression, or asks for what there is not."""
    try:
        program = cel.compile(expression)
    except ValueError as error:
        line, _, said = str(error).partition("ERROR: <input>:")[2].partition(": ")
        row, _, column = line.partition(":")
        told = said.partition("\n")[0]
        raise ValueError(
            f"no CEL expression: {told} (line {row}, column {column} of it); see https://cel.dev for the language"
        ) from None
    names = set(program.variables()) - SEEN - _LIBRARIES - set(_bound(expression))
    if names:
        raise ValueError(f"there is no '{min(names)}': a transformation sees {', '.join(sorted(SEEN))}")
    functions = {name for name in program.functions() if re.fullmatch(r"\w*[a-zA-Z]\w*", name)} - _FUNCTIONS
    if functions:
        raise ValueError(
            f"there is no function '{min(functions)}'; there are: {', '.join(sorted(_FUNCTIONS))}"
        )
