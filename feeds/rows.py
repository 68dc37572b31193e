"""Rows out of a stream of text, each with its number: NDJSON, in bounded memory.

A row that cannot be read is given as `Rejected` and the next one follows; a file that cannot be read at all
raises `FileError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from feeds.feed import FeedError
from feeds.lines import LINE_LIMIT, read_lines, shown
from feeds.reading import check_depth, read_json

COLUMNS_LIMIT: Final = 2_000


class FileError(Exception):
    """The file cannot be read as what it is said to be."""


class Row(NamedTuple):
    """A row: column → value. `number` is its line in the file; it was read from about `size` bytes."""

    number: int
    values: dict[str, Any]
    size: int = 0


class Rejected(NamedTuple):
    """A row that could not be taken, and why. `row` is what can be shown of it."""

    number: int
    code: str
    reason: str
    row: Any


Rows = Iterator[Row | Rejected]


def read_ndjson(stream: BinaryIO) -> Rows:
    """A JSON object a line; empty lines are passed over."""
    for number, line in enumerate(read_lines(stream), 1):
        if line is None:
            yield Rejected(number, "line_too_long", f"a line has at most {LINE_LIMIT} bytes", None)
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            check_depth(line)
            said = read_json(line)
        except FeedError as error:
            yield Rejected(number, error.problems[0].code, error.problems[0].detail, shown(line))
            continue
        if isinstance(said, dict):
            yield Row(number, said, len(line))
        else:
            yield Rejected(number, "not_an_object", "a line is a JSON object", shown(line))
