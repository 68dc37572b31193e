"""Rows out of a stream of text: CSV and NDJSON, in bounded memory, each row with its number.

A row that cannot be read is given as `Rejected` and the next one follows; a file that cannot be read at all
raises `FileError`.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from feeds.feed import FeedError
from feeds.reading import check_depth, read_json

#: Longest line in bytes, and most lines and columns of one row.
LINE_LIMIT: Final = 1024 * 1024
LINES_LIMIT: Final = 1_000
COLUMNS_LIMIT: Final = 2_000
_CHUNK: Final = 1024 * 1024


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


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines without their end; `None` stands for one that is too long, of which only the length is seen."""
    tail, skipping = b"", False
    while chunk := stream.read(_CHUNK):
        parts = (tail + chunk).split(b"\n")
        tail = parts.pop()
        if skipping and parts:
            skipping = False
            yield None
            del parts[0]
        for part in parts:
            yield part if len(part) <= LINE_LIMIT else None
        if len(tail) > LINE_LIMIT:
            tail, skipping = b"", True
    if skipping:
        yield None
    elif tail:
        yield tail


def read_ndjson(stream: BinaryIO) -> Rows:
    """A JSON object a line; empty lines are passed over."""
    for number, line in enumerate(_lines(stream), 1):
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
            yield Rejected(number, error.problems[0].code, error.problems[0].detail, _shown(line))
            continue
        if isinstance(said, dict):
            yield Row(number, said, len(line))
        else:
            yield Rejected(number, "not_an_object", "a line is a JSON object", _shown(line))


class _TooManyLines(Exception):
    pass


class _Source:
    """Lines for csv's reader, which remembers those of the row at hand and can take them back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _lines(stream)
        self._again: deque[bytes | None] = deque()
        self.number = 0
        self.row: list[bytes | None] = []

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        if self.number == 0 and line is not None:
            line = line.removeprefix(b"\xef\xbb\xbf")
        self.number += 1
        self.row.append(line)
        if len(self.row) > LINES_LIMIT:
            raise _TooManyLines
        if line is None:
            raise csv.Error(f"a line has at most {LINE_LIMIT} bytes")
        return line.decode() + "\n"

    def begin(self) -> None:
        self.row = []

    @property
    def size(self) -> int:
        return sum(len(line or b"") for line in self.row)

    def take_back(self) -> None:
        """All lines of the row at hand but the first: it is that one which is wrong."""
        rest = self.row[1:]
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)


def read_csv(stream: BinaryIO, delimiter: str = ",") -> Rows:
    """RFC 4180, the first line names the columns. A row with too many or too few cells, or a quote that is
    never closed, is rejected alone: reading goes on at the next line."""
    source = _Source(stream)
    reader = csv.reader(source, strict=True, delimiter=delimiter)
    try:
        header = next(reader)
    except StopIteration:
        return
    except (csv.Error, UnicodeDecodeError, _TooManyLines) as error:
        raise FileError(f"the first line does not name the columns: {error}") from None
    if len(header) > COLUMNS_LIMIT:
        raise FileError(f"a file has at most {COLUMNS_LIMIT} columns, this one has {len(header)}")
    if len(set(header)) < len(header) or "" in header:
        raise FileError("the first line names each column once, and leaves none without a name")
    width = len(header)
    while True:
        source.begin()
        number = source.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError:
            yield _broken(source, number, "invalid_utf8", "the line is not UTF-8 text")
        except csv.Error as error:
            yield _broken(source, number, "broken_csv", f"the row is not CSV as it should be: {error}")
        except _TooManyLines:
            reason = f"a quote is not closed within {LINES_LIMIT} lines"
            yield _broken(source, number, "broken_csv", reason)
        else:
            if len(cells) == width:
                values = dict(zip(header, cells, strict=True))
                if b"\x00" in (source.row[0] or b""):
                    yield Rejected(number, "nul_character", "text may not contain U+0000", None)
                else:
                    yield Row(number, values, source.size)
            elif cells:
                yield Rejected(number, "ragged", f"{width} cells are expected, here are {len(cells)}", cells)
            continue
        reader = csv.reader(source, strict=True, delimiter=delimiter)


def _broken(source: _Source, number: int, code: str, reason: str) -> Rejected:
    first = source.row[0] if source.row else None
    source.take_back()
    return Rejected(number, code, reason, None if first is None else _shown(first))


def _shown(line: bytes) -> str:
    return line.decode("utf-8", "replace").replace("\x00", "�")
