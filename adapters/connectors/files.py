"""Files in a folder or an object store: one for each batch, as Parquet or CSV, a row for each change or event.

Source: parquet.apache.org/docs/file-format, RFC 4180. A batch's file always has the same name, and is written whole
in one step: written twice it is there once. What a run sends is in a folder of its own, and when all of it is there,
`_complete.json` says how many rows that are. In CSV, cells that a spreadsheet would take for a formula begin with an
apostrophe, unless `escape_formulas` is false. Fields: any, as columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pyarrow
import pyarrow.parquet

from adapters.connectors.connector import Answer, Connector, ConnectorConfig, Example, Judgement, Request
from adapters.connectors.judging import all_are, refused, when
from adapters.connectors.settings import wrong
from domain.outbound import Outbound

MAX_BATCH: Final = 10_000

_SCHEMES: Final = ("file", "s3", "gs", "az", "abfss", "https", "http")
_SETTINGS: Final = ("url", "format", "columns", "options", "escape_formulas")
_TYPES: Final = {
    "text": pyarrow.string(),
    "integer": pyarrow.int64(),
    "number": pyarrow.float64(),
    "boolean": pyarrow.bool_(),
}
_OURS: Final = (
    "outbound_id",
    "audience",
    "change",
    "event",
    "occurred_at",
    "properties",
    "before",
    "position",
)
_OPTION: Final = re.compile(r"(aws|google|azure)_(?!allow_http$)[a-z0-9_]+")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def check(config: ConnectorConfig) -> None:
    """Raises `ValueError` naming the setting that is wrong."""
    settings = config.settings
    if unknown := sorted(set(settings) - set(_SETTINGS)):
        raise wrong(config, f"settings.{unknown[0]}", f"does not exist; there are: {', '.join(_SETTINGS)}")
    url = urlsplit(str(settings.get("url", "")))
    if url.scheme not in _SCHEMES or not (url.netloc or url.path.startswith("/")):
        raise wrong(
            config,
            "settings.url",
            "is no address of a folder; write it as s3://BUCKET/FOLDER or file:///FOLDER",
        )
    if settings.get("format", "parquet") not in ("parquet", "csv"):
        raise wrong(config, "settings.format", "is neither parquet nor csv")
    columns = settings.get("columns", {})
    if not isinstance(columns, dict) or not all(kind in _TYPES for kind in columns.values()):
        raise wrong(config, "settings.columns", f"is no map of columns to one of {', '.join(_TYPES)}")
    if not isinstance(settings.get("options", {}), dict):
        raise wrong(config, "settings.options", "is no map of options")
    for place, names in (("settings.options", settings.get("options", {})), ("secrets", config.secrets)):
        for name in names:
            if not _OPTION.fullmatch(name):
                raise wrong(
                    config, f"{place}.{name}", "is none of obstore's options: aws_…, google_…, azure_…"
                )
    for name, value in config.secrets.items():
        if not re.fullmatch(r"[!-~]+", value):
            raise wrong(config, f"secrets.{name}", "is not one word of visible ASCII")


def render(config: ConnectorConfig, outbound: Sequence[Outbound]) -> list[Request]:
    """One file. A record of which a value is not of its column's type is in none."""
    ends = [one for one in outbound if one.change == "complete"]
    requests = [
        Request("PUT", f"{_folder(config, one)}/_complete.json", {}, _ended(one), (one,)) for one in ends
    ]
    usable = [one for one in outbound if one.change != "complete" and _fits(config, one)]
    if not usable:
        return requests
    names = sorted({name for one in usable for name in one.fields} | set(config.settings.get("columns", {})))
    kind = config.settings.get("format", "parquet")
    body = (_csv if kind == "csv" else _parquet)(config, names, usable)
    file = f"{_folder(config, usable[0])}/{usable[0].batch}.{kind}"
    return [Request("PUT", file, {}, body, tuple(usable)), *requests]


def _folder(config: ConnectorConfig, one: Outbound) -> str:
    return f"{config.name}/{one.run}" if one.run else config.name


def _ended(one: Outbound) -> bytes:
    told = {"run": one.run, "audience": one.audience, "rows": one.fields["records"]}
    return msgspec.json.encode(told, order="deterministic")


def _kind(config: ConnectorConfig, name: str) -> str:
    return str(config.settings.get("columns", {}).get(name, "text"))


def _fits(config: ConnectorConfig, one: Outbound) -> bool:
    wanted = {"integer": int, "number": (int, float), "boolean": bool}
    for name, value in one.fields.items():
        kind = _kind(config, name)
        if kind == "text" or value is None:
            continue
        if not isinstance(value, wanted[kind]) or (kind != "boolean" and isinstance(value, bool)):  # type: ignore[arg-type]
            return False
        if kind == "integer" and not -(2**63) <= value < 2**63:
            return False
    return True


def _value(config: ConnectorConfig, name: str, value: Any) -> Any:
    if value is None or _kind(config, name) != "text" or isinstance(value, str):
        return value
    return msgspec.json.encode(value, order="deterministic").decode()


def _ours(one: Outbound) -> tuple[str, str, str, str, str, str, str, int]:
    event = one.change == "event"
    occurred_at = when(one) if event else ""
    return (
        one.id,
        one.audience,
        one.change,
        one.event,
        occurred_at,
        _json(one.properties),
        _json(one.before),
        one.cause,
    )


def _json(values: dict[str, Any]) -> str:
    return msgspec.json.encode(values, order="deterministic").decode() if values else ""


def _parquet(config: ConnectorConfig, names: Sequence[str], outbound: Sequence[Outbound]) -> bytes:
    fields = [pyarrow.field(name, pyarrow.string()) for name in _OURS[:-1]] + [("position", pyarrow.int64())]
    fields += [pyarrow.field(name, _TYPES[_kind(config, name)]) for name in names]
    columns: list[list[Any]] = [list(column) for column in zip(*map(_ours, outbound), strict=True)]
    columns += [[_value(config, name, one.fields.get(name)) for one in outbound] for name in names]
    schema = pyarrow.schema(fields)
    arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    into = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), into, compression="zstd")
    return into.getvalue()


def _csv(config: ConnectorConfig, names: Sequence[str], outbound: Sequence[Outbound]) -> bytes:
    into = io.StringIO(newline="")
    writer = csv.writer(into, lineterminator="\r\n")
    writer.writerow([*_OURS, *names])
    for one in outbound:
        writer.writerow([*_ours(one), *(_cell(config, name, one.fields.get(name)) for name in names)])
    return into.getvalue().encode()


def _cell(config: ConnectorConfig, name: str, value: Any) -> str:
    if value is None:
        return ""
    told = _value(config, name, value)
    if isinstance(told, bool):
        return "true" if told else "false"
    if isinstance(told, str) and told.startswith(_FORMULA) and config.settings.get("escape_formulas", True):
        return f"'{told}"
    return str(told)


def judge(config: ConnectorConfig, request: Request, answer: Answer) -> list[Judgement]:
    if answer.status == 200:
        return all_are(request, "delivered", reference=request.url)
    return refused("The store", request, answer)


_EXAMPLE: Final = Example(
    {"url": "s3://a-bucket/audiences", "columns": {"age": "integer"}},
    {},
    lambda n: {"user_id": f"user-{n}", "age": n},
    lambda request: Answer(200, {}, b""),
    lambda request: request.url,
)

CONNECTOR: Final = Connector(
    MAX_BATCH,
    frozenset({"add", "remove", "delete", "event", "update", "complete"}),
    check,
    render,
    judge,
    example=_EXAMPLE,
    transport="object_store",
)
