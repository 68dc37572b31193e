"""The schemas that a workspace file refers to, `{file: plans/order.json}`, put in the place of the reference: the
log then says itself which schema held when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class SchemaFileError(ValueError):
    """A file cannot be read, or holds no schema."""


def with_schemas(document: Any, folder: Path) -> Any:
    """The workspace's document with the files of its tracking plans read, relative to `folder`."""
    plans = document.get("tracking_plans") if isinstance(document, dict) else None
    if not isinstance(plans, dict):
        return document
    read = {name: _plan(plan, folder) for name, plan in plans.items()}
    return {**document, "tracking_plans": read}


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
    path = folder / str(place["file"])
    try:
        schema = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SchemaFileError(f"the schema {path} cannot be read ({type(error).__name__})") from error
    except yaml.YAMLError as error:
        raise SchemaFileError(f"the schema {path} is neither JSON nor YAML: {error}") from error
    if not isinstance(schema, dict):
        raise SchemaFileError(f"the schema {path} is no object")
    return {**{key: value for key, value in place.items() if key != "file"}, "schema": schema}
