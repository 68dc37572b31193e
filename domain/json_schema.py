"""JSON Schemas that are sure to end: compiled once, with patterns of linear time, and refused where one could
ask for unbounded work (docs/decisions/0060-bounded-schemas.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import jsonschema_rs

#: Bytes of a schema, its nesting (of lists and objects), and its subschemas where every reference is written out.
SIZE_LIMIT: Final = 256 * 1024
DEPTH_LIMIT: Final = 200
EXPANDED_LIMIT: Final = 5_000
#: Bytes that one compiled pattern may take.
_PATTERN_LIMIT: Final = 1024 * 1024
#: Violations that are told of one instance.
_TOLD: Final = 20
_DIALECTS: Final = tuple(
    f"http{secure}://json-schema.org/{draft}/schema{end}"
    for secure in ("", "s")
    for draft in ("draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
    for end in ("", "#")
)
#: What below these keywords looks like a schema is data.
_DATA: Final = frozenset({"enum", "const", "default", "examples"})
#: What stands below these keywords are names of the author's, each with a schema.
_NAMED: Final = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
)
#: References whose end depends on where they are met.
_DYNAMIC: Final = ("$dynamicRef", "$recursiveRef")


class SchemaError(ValueError):
    """A schema is not JSON Schema, or is not sure to end."""


class Violation(NamedTuple):
    """What an instance does not keep to: where, as a JSON pointer in which names that the schema does not know are
    `*`, and the schema's keyword. Never a value."""

    pointer: str
    keyword: str


class Schema:
    """A compiled schema."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def violations(self, instance: Any) -> tuple[Violation, ...]:
        """The first violations; none where the instance is as it should be."""
        if self._validator.is_valid(instance):
            return ()
        found: dict[Violation, None] = {}
        for error in self._validator.iter_errors(instance):
            found[_violation(error)] = None
            if len(found) == _TOLD:
                break
        return tuple(found)


def compile_schema(schema: Mapping[str, Any]) -> Schema:
    """The schema, ready to use; the same schema is compiled once. Raises `SchemaError`."""
    return _compile(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=1_000)
def _compile(text: str) -> Schema:
    if len(text) > SIZE_LIMIT:
        raise SchemaError(f"a schema has at most {SIZE_LIMIT} bytes, this one has {len(text)}")
    schema = json.loads(text)
    dialect = schema.get("$schema", _DIALECTS[-1])
    if dialect not in _DIALECTS:
        raise SchemaError(f"$schema: '{dialect}' is none of the dialects that are known: drafts 4 to 2020-12")
    _expanded(schema, schema, 0, (), {})
    try:
        return Schema(
            jsonschema_rs.validator_for(
                schema,
                validate_formats=True,
                pattern_options=jsonschema_rs.RegexOptions(
                    size_limit=_PATTERN_LIMIT, dfa_size_limit=_PATTERN_LIMIT
                ),
            )
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError(_said(error)) from None


def _said(error: Exception) -> str:
    where = "/".join(map(str, getattr(error, "instance_path", ())))
    message = str(getattr(error, "message", error)).partition("\n")[0]
    if message.endswith('is not a "regex"'):
        message += ": patterns have neither look-around nor back-references, and are of bounded size"
    return f"{where}: {message}" if where else message


def _expanded(root: Any, node: Any, depth: int, way: tuple[str, ...], known: dict[str, int]) -> int:
    """How many subschemas there are with every reference written out."""
    if depth > DEPTH_LIMIT:
        raise SchemaError(f"a schema may be nested {DEPTH_LIMIT} deep, this is deeper")
    count = 1
    if isinstance(node, list):
        count = sum(_expanded(root, one, depth + 1, way, known) for one in node)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in _DYNAMIC or (key == "$id" and node is not root):
                raise SchemaError(f"'{key}' is not for a tracking plan; write '$ref': '#/$defs/…'")
            if key == "$ref" and isinstance(value, str):
                count += _referred(root, value, depth, way, known)
            elif key in _NAMED and isinstance(value, dict):
                # A list here names other properties.
                schemas = [one for one in value.values() if isinstance(one, dict)]
                count += _expanded(root, schemas, depth + 1, way, known)
            elif key not in _DATA and isinstance(value, (dict, list)):
                count += _expanded(root, value, depth + 1, way, known)
    if count > EXPANDED_LIMIT:
        raise SchemaError(f"a schema has at most {EXPANDED_LIMIT} subschemas, each reference written out")
    return count


def _referred(root: Any, ref: str, depth: int, way: tuple[str, ...], known: dict[str, int]) -> int:
    if ref != "#" and not ref.startswith("#/"):
        raise SchemaError(
            f"'$ref': '{ref}' leads elsewhere; a reference begins with '#/', and nothing is fetched"
        )
    if ref == "#" or ref in way:
        raise SchemaError(f"'$ref': '{ref}' leads back to itself; such a schema may never end")
    if ref not in known:
        known[ref] = _expanded(root, _at(root, ref), depth + 1, (*way, ref), known)
    return known[ref]


def _at(root: Any, ref: str) -> Any:
    found = root
    for part in ref[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise SchemaError(f"'$ref': '{ref}' leads nowhere")
    return found


def _violation(error: Any) -> Violation:
    named = set(error.schema_path)
    parts = [part if isinstance(part, int) or part in named else "*" for part in error.instance_path]
    if error.kind.name == "required":
        parts.append(error.kind.property)
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return Violation("".join(f"/{part}" for part in escaped), error.kind.name)
