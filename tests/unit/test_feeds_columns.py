"""Columns read at once: the same outcome as cell by cell, whatever stands in them; and Parquet's blocks."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feeds.blocks import BLOCK_ROWS, Block
from feeds.columns import _one_by_one, _reader, read_column, read_moments
from feeds.files import read_blocks
from feeds.mapping import Column
from feeds.parquet import read_parquet
from feeds.rows import FileError

TIMES = st.one_of(
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.datetimes().map(datetime.isoformat),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.dates().map(date.isoformat),
    st.sampled_from(
        ["2026-11-24 10:15", "20261124", "2026-11-24T24:00:00Z", "2026-11-24T10:15:60Z", "0000-01-01"]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=5),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["yes", "N", "", "0x1", "1_0"]),
)
CELLS = st.one_of(
    st.lists(TEXTS),
    st.lists(TIMES),
    st.lists(st.one_of(st.none(), st.integers())),
    st.lists(st.one_of(st.none(), st.floats())),
    st.lists(st.one_of(st.none(), st.booleans())),
    st.lists(st.one_of(TEXTS, st.none(), st.integers(), st.floats(), st.booleans(), st.datetimes())),
)
COLUMNS = st.builds(
    lambda kind, required, one_of, low, high: Column.model_validate(
        {"column": "c", "as": kind, "required": required, "one_of": one_of, "min": low, "max": high}
    ),
    st.sampled_from(["text", "integer", "number", "boolean", "time", "json"]),
    st.booleans(),
    st.sampled_from([[], [], ["yes", "1"], [1, 2], [True]]),
    st.sampled_from([None, None, 0]),
    st.sampled_from([None, None, 100]),
)


@given(CELLS, COLUMNS)
@example(["2026-11-24T10:15:30.5Z", "2026-11-24T10:15:30+01:00"], Column(column="c", **{"as": "time"}))
def test_a_column_at_once_is_what_its_cells_are_one_by_one(cells: list[Any], column: Column) -> None:
    at_once: dict[int, str] = {}
    singly: dict[int, str] = {}
    found = read_column(cells, column, at_once.__setitem__)
    expected = _one_by_one(cells, _reader(column), singly.__setitem__)
    assert repr(list(found)) == repr(expected)
    assert at_once == singly


@given(st.lists(TIMES, min_size=1))
def test_moments_at_once_are_those_one_by_one(cells: list[str]) -> None:
    column = Column(column="c")
    together = read_moments(cells, column, lambda index, reason: None)
    assert list(together) == [
        read_moments([cell, 0], column, lambda index, reason: None)[0] for cell in cells
    ]


def parquet(table: pyarrow.Table) -> list[Block]:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return list(read_blocks("parquet", io.BytesIO(out.getvalue())))


def test_parquet_gives_columns_with_times_as_text() -> None:
    at = datetime(2026, 11, 24, 10, 15, 30, 500_000, UTC)
    table = pyarrow.table(
        {
            "a": ["x", None],
            "b": [1, 2],
            "at": [at, None],
            "day": [date(2026, 11, 24), None],
            "nano": pyarrow.array([1_795_515_330_000_000_001, None], pyarrow.timestamp("ns")),
            "sum": [Decimal("1.50"), None],
        }
    )
    [block] = parquet(table)
    assert list(block.numbers) == [1, 2]
    assert block.row(0) == {
        "a": "x",
        "b": 1,
        "at": "2026-11-24T10:15:30.500000Z",
        "day": "2026-11-24",
        "nano": "2026-11-24T10:15:30.000000001",
        "sum": Decimal("1.50"),
    }
    assert set(block.row(1).values()) == {None, 2}


def test_blocks_are_bounded_in_rows_and_in_bytes() -> None:
    many = pyarrow.table({"n": list(range(BLOCK_ROWS + 1))})
    assert [len(block) for block in parquet(many)] == [BLOCK_ROWS, 1]
    heavy = pyarrow.table({"text": ["x" * 1_000_000] * 30})
    numbers = [list(block.numbers) for block in parquet(heavy)]
    assert len(numbers) > 3
    assert [one for part in numbers for one in part] == list(range(1, 31))
    line = b'{"text":"%b"}\n' % (b"x" * 1_000_000)
    assert len(list(read_blocks("ndjson", io.BytesIO(line * 30)))) > 3


@given(st.binary(max_size=200))
def test_no_bytes_bring_the_parquet_reader_down(data: bytes) -> None:
    with pytest.raises(FileError):
        list(read_parquet(io.BytesIO(data)))
