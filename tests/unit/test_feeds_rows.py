"""Rows out of files: what cannot be read is rejected alone, with its number."""

from __future__ import annotations

import io
import json
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.blocks import BLOCK_ROWS
from feeds.csv_table import read_csv
from feeds.lines import LINE_LIMIT
from feeds.rows import FileError, Rejected, Row, read_ndjson


def csv_rows(data: bytes) -> list[Row | Rejected]:
    found: list[Row | Rejected] = []
    for block in read_csv(io.BytesIO(data)):
        read = [Row(number, block.row(index)) for index, number in enumerate(block.numbers)]
        found += sorted([*read, *block.rejected], key=lambda row: row.number)
    return found


def codes(rows: list[Row | Rejected]) -> list[tuple[int, str]]:
    return [(row.number, row.code if isinstance(row, Rejected) else "ok") for row in rows]


CSV: dict[str, tuple[bytes, list[tuple[int, str]]]] = {
    "nothing": (b"", []),
    "a header alone": (b"a,b\n", []),
    "no line end at the end": (b"a,b\n1,2", [(2, "ok")]),
    "CRLF": (b"a,b\r\n1,2\r\n3,4\r\n", [(2, "ok"), (3, "ok")]),
    "BOM": (b"\xef\xbb\xbfa,b\n1,2\n", [(2, "ok")]),
    "ragged": (b"a,b\n1\n1,2,3\n1,2\n", [(2, "ragged"), (3, "ragged"), (4, "ok")]),
    "empty lines": (b"a,b\n\n1,2\n\n", [(3, "ok")]),
    "a line break in a quoted cell": (b'a,b\n"x\ny",2\n3,4\n', [(2, "ok"), (4, "ok")]),
    "an unclosed quote": (b'a,b\n"x,2\n3,4\n5,6\n', [(2, "broken_csv"), (3, "ok"), (4, "ok")]),
    "an unclosed quote far from the end": (
        b'a,b\n"x,2\n' + b"3,4\n" * 2_000,
        [(2, "broken_csv"), *((n, "ok") for n in range(3, 2_003))],
    ),
    "a quote in the middle": (b'a,b\n"x"y,2\n3,4\n', [(2, "broken_csv"), (3, "ok")]),
    "bytes that are not UTF-8": (b"a,b\n\xff,2\n3,4\n", [(2, "invalid_utf8"), (3, "ok")]),
    "U+0000": (b"a,b\nx\x00,2\n3,4\n", [(2, "nul_character"), (3, "ok")]),
    "a line that never ends": (
        b"a,b\n" + b"x" * (LINE_LIMIT * 3) + b"\n3,4\n",
        [(2, "broken_csv"), (3, "ok")],
    ),
}


@pytest.mark.parametrize("case", CSV)
def test_csv(case: str) -> None:
    data, expected = CSV[case]
    assert codes(csv_rows(data)) == expected


@pytest.mark.parametrize(
    "header", [b"\n1\n", b"a,a\n", b"a,\n", b'"a\n1\n', b"\xff\n", b",".join([b"x"] * 3_000)]
)
def test_a_csv_file_whose_first_line_names_no_columns_is_refused(header: bytes) -> None:
    with pytest.raises(FileError):
        csv_rows(header)


def test_a_row_that_spans_the_end_of_a_block_is_one_row() -> None:
    rows = csv_rows(b"a,b\n" + b"1,2\n" * (BLOCK_ROWS - 1) + b'"x\ny",2\n3,4\n')
    assert [row.number for row in rows[-3:]] == [BLOCK_ROWS, BLOCK_ROWS + 1, BLOCK_ROWS + 3]
    assert [row.values["a"] for row in rows[-2:] if isinstance(row, Row)] == ["x\ny", "3"]


def test_formulas_are_taken_as_the_text_that_they_are() -> None:
    [row] = csv_rows(b'a\n"=cmd()|x"\n')
    assert isinstance(row, Row)
    assert row.values == {"a": "=cmd()|x"}


@given(st.binary(max_size=400))
def test_no_bytes_bring_the_csv_reader_down(data: bytes) -> None:
    try:
        rows = csv_rows(b"a,b\n" + data)
    except FileError:
        return
    numbers = [row.number for row in rows]
    assert numbers == sorted(set(numbers))


_LINES = st.lists(
    st.sampled_from(
        [
            b"1,2",
            b'"1",2',
            b'"1',
            b'2",3',
            b"1",
            b"1,2,3",
            b"",
            b"1,2\r",
            b"\r",
            b"\xff,2",
            b"\x00,1",
            b'"x""y",2',
        ]
    )
)


@given(_LINES)
def test_lines_read_at_once_are_the_rows_that_they_are_one_by_one(lines: list[bytes]) -> None:
    data = b"a,b\n" + b"\n".join(lines)
    at_once = csv_rows(data)
    with patch("feeds.csv_table._at_once", return_value=None):
        assert csv_rows(data) == at_once


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_characters="\r\n\x00", codec="utf-8")), st.integers()))
)
def test_every_row_that_csv_can_say_is_read(table: list[tuple[str, int]]) -> None:
    lines = ("\n" + '"' + text.replace('"', '""') + '",' + str(number) for text, number in table)
    rows = csv_rows(("a,b" + "".join(lines)).encode())
    assert [row.values for row in rows if isinstance(row, Row)] == [{"a": t, "b": str(n)} for t, n in table]


def test_ndjson() -> None:
    data = b'\xef\xbb\xbf{"a":1}\n\n[1]\n{"a":\n{"a":"\\u0000"}\n' + b'{"a":' * 100 + b'\n{"a":2}'
    found = [(1, "ok"), (3, "not_an_object"), (4, "malformed_json"), (5, "nul_character")]
    assert codes(list(read_ndjson(io.BytesIO(data)))) == [*found, (6, "too_deep"), (7, "ok")]


@given(st.binary(max_size=400))
def test_no_bytes_bring_the_ndjson_reader_down(data: bytes) -> None:
    for row in read_ndjson(io.BytesIO(data)):
        assert row.number > 0


@given(
    st.lists(
        st.dictionaries(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), st.integers(0, 9))
    )
)
def test_every_object_is_read(objects: list[dict[str, int]]) -> None:
    data = "\n".join(json.dumps(one) for one in objects).encode()
    assert [row.values for row in read_ndjson(io.BytesIO(data)) if isinstance(row, Row)] == objects
