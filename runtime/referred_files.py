"""The schemas, mappings and Python files that a workspace file refers to, put in the place of the reference: the log
then says itself which of them held when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.yaml_file import YamlError, parse_yaml


class ReferredFileError(ValueError):
    """A file cannot be read, or holds no object."""


def with_files(document: Any, folder: Path) -> Any:
    """The workspace's document with the files that it refers to read, relative to `folder`."""
    if not isinstance(document, dict):
        return document
    document = dict(document)
    plans, imports = document.get("tracking_plans"), document.get("imports")
    if isinstance(plans, dict):
        document["tracking_plans"] = {name: _plan(plan, folder) for name, plan in plans.items()}
    if isinstance(imports, dict):
        document["imports"] = {name: _import(one, folder) for name, one in imports.items()}
    connections = document.get("connections")
    if isinstance(connections, dict):
        document["connections"] = {name: _connection(one, folder) for name, one in connections.items()}
    return document


def _import(declared: Any, folder: Path) -> Any:
    if not isinstance(declared, dict) or not isinstance(declared.get("mapping"), str):
        return declared
    return {**declared, "mapping": _read(folder / declared["mapping"], "mapping")}


def _connection(declared: Any, folder: Path) -> Any:
    transform = declared.get("transform") if isinstance(declared, dict) else None
    if not isinstance(transform, dict) or not isinstance(transform.get("python"), str):
        return declared
    file = transform["python"]
    return {
        **declared,
        "transform": {**transform, "python": {"file": file, "source": _text(folder / file, "Python file")}},
    }


def _plan(plan: Any, folder: Path) -> Any:
    if not isinstance(plan, dict):
        return plan
    plan = dict(plan)
    if isinstance(plan.get("events"), dict):
        plan["events"] = {name: _planned(event, folder) for name, event in plan["events"].items()}
    if "traits" in plan:
        plan["traits"] = _planned(plan["traits"], folder)
    return plan


def _planned(planned: Any, folder: Path) -> Any:
    if not isinstance(planned, dict):
        return planned
    planned = _filled(planned, folder)
    if isinstance(planned.get("versions"), dict):
        versions = planned["versions"].items()
        planned["versions"] = {
            name: _filled(one, folder) if isinstance(one, dict) else one for name, one in versions
        }
    return planned


def _filled(place: dict[str, Any], folder: Path) -> dict[str, Any]:
    if "file" not in place:
        return place
    schema = _read(folder / str(place["file"]), "schema")
    return {**{key: value for key, value in place.items() if key != "file"}, "schema": schema}


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        said = parse_yaml(_text(path, what), path)
    except YamlError as error:
        raise ReferredFileError(f"the {what} {error}") from error
    if not isinstance(said, dict):
        raise ReferredFileError(f"the {what} {path} is no object")
    return said


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReferredFileError(f"the {what} {path} cannot be read ({type(error).__name__})") from error
