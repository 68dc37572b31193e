"""CSV (RFC 4180) as blocks of columns, in bounded memory. The first line names the columns.

Lines are read many at once where each of them is a row as it should be, else row by row, with the same outcome: a
row with too many or too few cells, or a quote that is never closed, is rejected alone, and reading goes on at the
next line.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

from feeds.blocks import BLOCK_BYTES, BLOCK_ROWS, Block
from feeds.lines import LINE_LIMIT, read_lines, shown
from feeds.rows import COLUMNS_LIMIT, FileError, Rejected

#: Most lines of one row.
LINES_LIMIT: Final = 1_000


def read_csv(stream: BinaryIO, delimiter: str = ",") -> Iterator[Block]:
    """Every row, by the number of its line. Raises `FileError` where the first line does not name the columns."""
    source = _Source(stream)
    header = _header(source, delimiter)
    while lines := source.ahead():
        first, behind = source.number + 1, source.number + 1 + len(lines)
        columns = _at_once(lines, header, delimiter)
        if columns is not None:
            source.pass_over(len(lines))
            yield Block.of_columns(range(first, behind), columns)
        else:
            yield _row_by_row(source, behind, header, delimiter)


class _TooManyLines(Exception):
    pass


class _Source:
    """Lines for csv's reader, which remembers those of the row at hand and can take them back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = read_lines(stream)
        self._ahead: deque[bytes | None] = deque()
        self.number = 0
        self.row: list[bytes | None] = []

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines)
        if self.number == 0 and line is not None:
            line = line.removeprefix(b"\xef\xbb\xbf")
        self.number += 1
        self.row.append(line)
        if len(self.row) > LINES_LIMIT:
            raise _TooManyLines
        if line is None:
            raise csv.Error(f"a line has at most {LINE_LIMIT} bytes")
        return line.decode() + "\n"

    def ahead(self) -> Sequence[bytes | None]:
        """The lines that come next, as many as a block may have; none at the end."""
        size = 0
        for line in self._lines:
            self._ahead.append(line)
            size += len(line or b"")
            if len(self._ahead) >= BLOCK_ROWS or size >= BLOCK_BYTES:
                break
        return list(self._ahead)

    def pass_over(self, count: int) -> None:
        """Goes on behind so many lines, which were read ahead."""
        for _ in range(count):
            self._ahead.popleft()
        self.number += count

    def begin(self) -> None:
        self.row = []

    def take_back(self) -> None:
        """All lines of the row at hand but the first: it is that one which is wrong."""
        rest = self.row[1:]
        self._ahead.extendleft(reversed(rest))
        self.number -= len(rest)


def _header(source: _Source, delimiter: str) -> list[str]:
    try:
        header = next(csv.reader(source, strict=True, delimiter=delimiter), None)
    except (csv.Error, UnicodeDecodeError, _TooManyLines) as error:
        raise FileError(f"the first line does not name the columns: {error}") from None
    if header is None:
        return []
    if len(header) > COLUMNS_LIMIT:
        raise FileError(f"a file has at most {COLUMNS_LIMIT} columns, this one has {len(header)}")
    if not header or len(set(header)) < len(header) or "" in header:
        raise FileError("the first line names each column once, and leaves none without a name")
    return header


def _at_once(
    lines: Sequence[bytes | None], header: Sequence[str], delimiter: str
) -> Mapping[str, Sequence[str]] | None:
    """The columns of lines of which each is a row; `None` where one is not."""
    whole = [line for line in lines if line is not None]
    try:
        rows = list(csv.reader(map(bytes.decode, whole), strict=True, delimiter=delimiter))
    except (csv.Error, UnicodeDecodeError):
        return None
    if len(rows) < len(lines) or set(map(len, rows)) != {len(header)} or b"\x00" in b"".join(whole):
        return None
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _row_by_row(source: _Source, behind: int, header: Sequence[str], delimiter: str) -> Block:
    """The rows that begin in the lines up to the one with the number `behind`."""
    numbers: list[int] = []
    taken: list[list[str]] = []
    rejected: list[Rejected] = []
    reader = csv.reader(source, strict=True, delimiter=delimiter)
    while source.number + 1 < behind:
        source.begin()
        number = source.number + 1
        try:
            cells = next(reader)
        except UnicodeDecodeError:
            rejected.append(_broken(source, number, "invalid_utf8", "the line is not UTF-8 text"))
        except csv.Error as error:
            reason = f"the row is not CSV as it should be: {error}"
            rejected.append(_broken(source, number, "broken_csv", reason))
        except _TooManyLines:
            reason = f"a quote is not closed within {LINES_LIMIT} lines"
            rejected.append(_broken(source, number, "broken_csv", reason))
        else:
            if len(cells) == len(header) and b"\x00" in (source.row[0] or b""):
                rejected.append(Rejected(number, "nul_character", "text may not contain U+0000", None))
            elif len(cells) == len(header):
                numbers.append(number)
                taken.append(cells)
            elif cells:
                reason = f"{len(header)} cells are expected, here are {len(cells)}"
                rejected.append(Rejected(number, "ragged", reason, cells))
            continue
        reader = csv.reader(source, strict=True, delimiter=delimiter)
    columns: Sequence[Any] = list(zip(*taken, strict=True)) or [()] * len(header)
    return Block.of_columns(numbers, dict(zip(header, columns, strict=True)), rejected)


def _broken(source: _Source, number: int, code: str, reason: str) -> Rejected:
    first = source.row[0] if source.row else None
    source.take_back()
    return Rejected(number, code, reason, None if first is None else shown(first))
