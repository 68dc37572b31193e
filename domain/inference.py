"""A tracking plan out of what was said: the JSON Schemas that all samples of each event keep to."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from genson import SchemaBuilder

from domain.records import Record, dig

#: Events that are told apart, and records of each that are looked at.
EVENTS_LIMIT: Final = 1_000
SAMPLES: Final = 10_000
#: An object with more names than this is a table whose names are values, perhaps a person's.
NAMES_LIMIT: Final = 100

_decode = msgspec.json.Decoder().decode


class Inference:
    """Takes records in, in any order, and proposes a plan."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples = samples
        self._builders: dict[tuple[str, str], SchemaBuilder] = {}
        self._seen: dict[tuple[str, str], int] = {}

    def take_in(self, record: Record) -> None:
        """Looks at a record, unless there are enough of its kind."""
        if record.type not in ("track", "identify"):
            return
        key = (record.type, record.name if record.type == "track" else "")
        seen = self._seen.get(key, 0)
        if seen >= self._samples or (seen == 0 and len(self._builders) >= EVENTS_LIMIT):
            return
        self._seen[key] = seen + 1
        if not seen:
            self._builders[key] = SchemaBuilder(schema_uri=None)
        at = record.properties_at if record.type == "track" else record.traits_at
        self._builders[key].add_object({**dig(_decode(record.body), at), **record.properties})

    def plan(self, feeds: list[str]) -> dict[str, Any]:
        """The plan as a workspace file has it: violations are marked, so that it can be tried without harm."""
        plan: dict[str, Any] = {"feeds": feeds, "on_violation": "mark"}
        events = {}
        for (kind, name), builder in sorted(self._builders.items()):
            schema = {"schema": _bounded(builder.to_schema())}
            if kind == "track":
                events[name] = schema
            else:
                plan["traits"] = schema
        return plan | {"events": events}

    def counts(self) -> dict[str, int]:
        """How many records of each event were looked at; those of `identify` under that name."""
        return {name or "identify": seen for (_, name), seen in sorted(self._seen.items())}


def _bounded(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bounded(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if len(schema.get("properties", ())) > NAMES_LIMIT:
        return {"type": schema["type"]}
    return {key: _bounded(value) for key, value in schema.items()}
