"""What paths of the API's document are made of."""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
OBJECT: Final[Schema] = {"type": "object"}
API_TOKEN: Final[list[dict[str, list[str]]]] = [{"apiToken": []}]
UNAUTHORIZED: Final = "the API token is missing or wrong"


def answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problem(description: str) -> Schema:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def path_value(name: str) -> list[Schema]:
    """A value that the path holds."""
    return [{"name": name, "in": "path", "required": True, "schema": TEXT}]


def query_value(name: str, schema: Schema) -> Schema:
    """A value that may stand in the query."""
    return {"name": name, "in": "query", "schema": schema}
