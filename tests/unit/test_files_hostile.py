"""Whatever a file holds, its rows are records, or rejected, or the file is refused: nothing else."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.files import NoFileError, open_file
from domain.records import Record, entry_of, record_of
from feeds.mapping import Mapping
from feeds.rows import FileError, Rejected
from runtime.import_batches import mapped
from tests.unit.mutations import mutated

MAPPING = Mapping.model_validate(
    {
        "type": "track",
        "event": "Seen",
        "id": "id",
        "identifiers": {"user_id": "user", "email": "mail"},
        "time": "at",
        "values": {"n": {"column": "n", "as": "number"}, "flag": {"column": "flag", "as": "boolean"}},
        "consent": {"push": "push"},
    }
)
CSV = b"\xef\xbb\xbfid,user,mail,at,n,flag,push\n" + b"".join(
    b'%d,u-%d,"u%d@example.com",2026-11-24T10:00:%02dZ,%d.5,yes,no\n' % (n, n, n, n, n) for n in range(9)
)
ROWS = [
    {"id": f"{n}", "user": f"u-{n}", "mail": None, "at": "2026-11-24", "n": n, "flag": True, "push": False}
    for n in range(9)
]
NDJSON = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def parquet(compression: str) -> bytes:
    out = io.BytesIO()
    more = {
        "when": datetime(2026, 11, 24, tzinfo=UTC),
        "day": date(2026, 11, 24),
        "clock": time(10, 15),
        "sum": Decimal("1.50"),
        "nested": {"a": [1, None], "b": "x"},
        "raw": b"\x00\xff",
    }
    table = pyarrow.Table.from_pylist([row | more for row in ROWS])
    pyarrow.parquet.write_table(table, out, compression=compression, row_group_size=4)
    return out.getvalue()


FILES = {
    "a.csv": CSV,
    "a.ndjson": NDJSON,
    "a.csv.gz": gzip.compress(CSV, mtime=0),
    "a.ndjson.zst": zstandard.compress(NDJSON),
    "plain.parquet": parquet("none"),
    "snappy.parquet": parquet("snappy"),
    "zstd.parquet": parquet("zstd"),
}


def outcome(file: Path, content: bytes) -> list[Record | Rejected]:
    """What a file's rows become; none where the file is refused as a whole."""
    file.write_bytes(content)
    try:
        with open_file(str(file)) as opened:
            rows: list[Record | Rejected] = []
            for _, found in mapped(opened, "crm", MAPPING, 1):
                rows += found.records
                rows += found.rejected
            return rows
    except (FileError, NoFileError) as error:
        assert str(error)
        return []


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    rows = outcome(tmp_path / name, FILES[name])
    assert [isinstance(row, Record) for row in rows] == [True] * 9, rows


@pytest.mark.parametrize("name", FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_bytes_in_it(name: str, tmp_path: Path, data: st.DataObject) -> None:
    for row in outcome(tmp_path / name, data.draw(mutated(FILES[name]))):
        if isinstance(row, Rejected):
            assert row.code
            assert row.reason
        else:
            assert record_of(entry_of(row).state) == row
