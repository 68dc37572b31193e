"""Who is in an audience, as a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection

from adapters.projections.people import load_profiles, member_pages
from domain.mendable import Mendable
from domain.profiles import Profile
from runtime.audiences.membership_log import members_at
from runtime.times import written

PAGE: Final = 2_000
#: A profile, and where and when (log time in microseconds) it entered.
Member = tuple[str, int, int]
#: What a spreadsheet would take for a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class ExportFormatError(Mendable, ValueError):
    """The file's name does not say in which form to write it."""


class Format(Enum):
    CSV = ".csv"
    NDJSON = ".ndjson"
    PARQUET = ".parquet"

    @classmethod
    def of(cls, file: Path) -> Format:
        """The form that a file's name asks for. Raises `ExportFormatError`."""
        try:
            return cls(file.suffix.lower())
        except ValueError:
            known = ", ".join(form.value for form in cls)
            raise ExportFormatError(f"{file}: ends with none of {known}; name a file that does") from None


def export_members(
    connection: Connection,
    audience: str,
    form: Format,
    file: Path,
    fields: Mapping[str, str],
    position: int | None,
) -> int:
    """Writes profile, entry and fields of each member, now or as of a position; how many there were.

    Fields are as they are now, also where the members are those of another time. Memory does not grow with the members
    of now; of those of a position all are remembered.
    """
    if position is None:
        pages = member_pages(connection, audience, PAGE)
    else:
        pages = _pages(members_at(connection, audience, position))
    rows = _rows(connection, pages, fields)
    names = ["profile", "entered_at", "position", *fields]
    return _WRITERS[form](file, names, rows)


def _pages(since: Mapping[str, tuple[int, int]]) -> Iterator[list[Member]]:
    ids = sorted(since)
    for start in range(0, len(ids), PAGE):
        yield [(id, *since[id]) for id in ids[start : start + PAGE]]


def _rows(
    connection: Connection, pages: Iterable[list[Member]], fields: Mapping[str, str]
) -> Iterator[list[dict[str, Any]]]:
    for page in pages:
        profiles = load_profiles(connection, [profile for profile, _, _ in page]) if fields else {}
        rows = []
        for profile, position, at in page:
            row: dict[str, Any] = {"profile": profile, "entered_at": written(at), "position": position}
            for name, source in fields.items():
                row[name] = _value(profiles.get(profile), source)
            rows.append(row)
        yield rows


def _value(profile: Profile | None, source: str) -> Any:
    if profile is None:
        return None
    kind, _, key = source.partition(".")
    if kind == "identifier":
        known = profile.identifiers.get(key)
        return min(known, key=lambda value: (known[value], value)) if known else None
    held = profile.attributes.get(key)
    return held.value if held is not None else None


def _csv(file: Path, names: list[str], pages: Iterable[list[dict[str, Any]]]) -> int:
    count = 0
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        for page in pages:
            writer.writerows({name: _cell(row[name]) for name in names} for row in page)
            count += len(page)
    return count


def _cell(value: Any) -> Any:
    text = value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _ndjson(file: Path, names: list[str], pages: Iterable[list[dict[str, Any]]]) -> int:
    count = 0
    with file.open("wb") as out:
        for page in pages:
            out.writelines(orjson.dumps(row) + b"\n" for row in page)
            count += len(page)
    return count


def _parquet(file: Path, names: list[str], pages: Iterable[list[dict[str, Any]]]) -> int:
    count = 0
    schema = pa.schema([(name, pa.int64() if name == "position" else pa.string()) for name in names])
    with pq.ParquetWriter(file, schema, compression="zstd") as out:
        for page in pages:
            columns = [
                [row[name] if name == "position" else _text(row[name]) for row in page] for name in names
            ]
            arrays = [pa.array(of, field.type) for of, field in zip(columns, schema, strict=True)]
            out.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(page)
    return count


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


_WRITERS: Final = {Format.CSV: _csv, Format.NDJSON: _ndjson, Format.PARQUET: _parquet}
