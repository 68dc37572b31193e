"""How a connection makes of each record, right before it is sent, what its destination takes: by a CEL expression or a
function in a Python file. What runs it, and within what limits, is `adapters/sandbox`; why there, decision 220.

It sees `fields`, `event` and `properties`, and not whether they are told or taken back: who is taken out is named as
they were when they were told.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from pydantic import Field, model_validator

from domain.outbound import Outbound, Status
from domain.secret_ref import Model

#: What a Python file may import: nothing that reaches out of the process.
MODULES: Final = (
    "__future__", "base64", "binascii", "collections", "dataclasses", "datetime", "decimal", "enum", "functools",
    "hashlib", "hmac", "html", "itertools", "json", "math", "operator", "re", "string", "textwrap", "typing",
    "unicodedata", "urllib.parse", "uuid", "zlib",
)  # fmt: skip
#: What a transformation sees of a record.
SEEN: Final = frozenset({"fields", "event", "properties"})
_MAPS: Final = frozenset({"fields", "properties"})
_SHOWN: Final = 100
_GIVES: Final = "it gives true, false, or a map of 'fields', 'event' and 'properties'"


class PythonFile(Model):
    """A file beside the workspace's, as it was when the workspace was read."""

    file: str
    source: Annotated[str, Field(max_length=100_000)]


class Transform(Model):
    """A `cel` expression, or a `function` of a `python` file."""

    cel: Annotated[str, Field(max_length=10_000)] | None = None
    python: PythonFile | None = None
    function: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Transform:
        if (self.cel is None) == (self.python is None):
            raise ValueError(
                "a transformation is a 'cel' expression, or a 'python' file: write one of the two"
            )
        if (self.python is None) != (self.function is None):
            raise ValueError("a 'python' file comes with the 'function' in it that is called")
        if self.cel is not None:
            # CEL comes with a whole terminal, and most workspaces have no expression of it.
            from domain.cel_expression import check_cel

            check_cel(self.cel)
        if self.python is not None:
            check_python(self.python, self.function or "")
        return self

    @property
    def name(self) -> str:
        """What a reason calls it."""
        if self.python is not None:
            return f"{self.function} of {self.python.file}"
        said = " ".join((self.cel or "").split())
        return f"'{said}'" if len(said) <= _SHOWN else f"'{said[:_SHOWN]}…'"


def check_python(python: PythonFile, function: str) -> None:
    """Raises `ValueError`, with the file's line, where it does not parse, has not the function, or imports what a
    transformation has not."""
    try:
        tree = ast.parse(python.source, python.file)
    except SyntaxError as error:
        raise ValueError(f"{python.file}:{error.lineno or 1}: {error.msg}") from None
    except ValueError as error:
        raise ValueError(f"{python.file}: {error}") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"{python.file}: is nested too deep to be read") from None
    for node in ast.walk(tree):
        for module in _imported(node):
            if module not in MODULES:
                line = getattr(node, "lineno", 1)
                raise ValueError(
                    f"{python.file}:{line}: a transformation cannot import '{module}'; it has: {', '.join(MODULES)}"
                )
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == function]
    if not found:
        there = [one.name for one in tree.body if isinstance(one, ast.FunctionDef)]
        raise ValueError(f"{python.file} has no function '{function}'; it has: {', '.join(there) or 'none'}")
    arguments = found[-1].args
    if len(arguments.posonlyargs + arguments.args) != 1 or arguments.kwonlyargs:
        raise ValueError(
            f"{python.file}:{found[-1].lineno}: '{function}' takes one argument, the record: a dict of"
            " 'fields', 'event' and 'properties'"
        )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        # `from urllib import parse` says the same as `import urllib.parse`.
        return [f"{module}.{one.name}" if module == "urllib" else module for one in node.names]
    return []


class Failure(NamedTuple):
    """Nothing was made of a record. `reason` holds no personal data, `detail` may: it is for whoever may see the
    record."""

    reason: str
    detail: str = ""


class Unsent(NamedTuple):
    """What a record comes to that is not sent."""

    status: Status
    reason: str
    detail: str = ""


def asked_of(record: Outbound) -> list[dict[str, Any]]:
    """What the transformation is given of a record. Of an update also what was told before, so that what it says was
    different is what is different for the destination."""
    seen = {"fields": record.fields, "event": record.event, "properties": record.properties}
    if record.change == "complete":
        return []
    if record.change != "update":
        return [seen]
    known = {**record.fields, **record.before}
    return [seen, seen | {"fields": {name: value for name, value in known.items() if value is not None}}]


def transformed(record: Outbound, answers: Sequence[Any], name: str) -> Outbound | Unsent:
    """The record as it is sent, by the answers to `asked_of`. Where it drops one side of an update, the other is an
    addition or a removal."""
    made: list[Outbound | None] = []
    for answer, asked in zip(answers, asked_of(record), strict=True):
        found = _made(msgspec.structs.replace(record, fields=asked["fields"]), answer)
        if isinstance(found, Failure):
            return Unsent("dead", f"transformation {name}: {found.reason}", found.detail)
        made.append(found)
    match made:
        case []:
            return record
        case [None] if record.change == "delete":
            # Whoever is to be forgotten must not be forgotten by nobody having asked.
            return Unsent("dead", f"transformation {name} drops the request to delete somebody")
        case [None] | [None, None]:
            return Unsent("suppressed", f"transformation {name} drops it")
        case [Outbound() as now]:
            return now
        case [Outbound() as now, None]:
            return msgspec.structs.replace(now, change="add", before={})
        case [None, Outbound() as old]:
            return msgspec.structs.replace(old, change="remove", before={})
        case [Outbound() as now, Outbound() as old]:
            different = [
                one for one in {**old.fields, **now.fields} if old.fields.get(one) != now.fields.get(one)
            ]
            return msgspec.structs.replace(now, before={one: old.fields.get(one) for one in different})
        case _:
            raise AssertionError("a record is asked of once, an update twice")


def _made(record: Outbound, answer: Any) -> Outbound | Failure | None:
    """What an answer makes of a record; `None` where it drops it."""
    match answer:
        case Failure():
            return answer
        case True:
            return record
        case False:
            return None
        case dict() if answer.keys() <= SEEN:
            pass
        case dict():
            return Failure(f"gives '{min(answer.keys() - SEEN)}'; {_GIVES}")
        case _:
            return Failure(f"gives a {type(answer).__name__}; {_GIVES}")
    changed: dict[str, Any] = {}
    for name, value in answer.items():
        if name in _MAPS:
            if not isinstance(value, Mapping):
                return Failure(f"gives for '{name}' a {type(value).__name__}; it is a map")
            changed[name] = {key: inner for key, inner in value.items() if inner is not None}
        elif not isinstance(value, str) or bool(value) != bool(record.event):
            return Failure("gives no name for 'event'; it is a text, and empty where nothing happened")
        else:
            changed[name] = value
    return msgspec.structs.replace(record, **changed)
