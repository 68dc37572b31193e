"""Rows side by side: a block is some thousand rows, whose columns are read as columns.

What is done once a block and column costs little a row; a block is bounded in rows and in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from feeds.objects import objects_of
from feeds.rows import Rejected

BLOCK_ROWS: Final = 8_000
BLOCK_BYTES: Final = 4 * 1024 * 1024


class Block:
    """Rows with their numbers in the file, and the rows among them that could not be read. `names` are the
    columns, `None` where each row has its own."""

    def __init__(
        self, numbers: Sequence[int], rows: Sequence[dict[str, Any]], rejected: Sequence[Rejected] = ()
    ) -> None:
        self.numbers = numbers
        self.rejected = rejected
        self._rows = rows
        self._columns: Mapping[str, Sequence[Any]] | None = None

    @classmethod
    def of_columns(
        cls,
        numbers: Sequence[int],
        columns: Mapping[str, Sequence[Any]],
        rejected: Sequence[Rejected] = (),
    ) -> Block:
        """Rows of columns that are as long as there are numbers."""
        block = cls(numbers, (), rejected)
        block._columns = columns
        return block

    def __len__(self) -> int:
        return len(self.numbers)

    def only(self, indexes: Sequence[int]) -> Block:
        """These rows of it, with their numbers; none that was rejected."""
        numbers = [self.numbers[index] for index in indexes]
        if self._columns is None:
            return Block(numbers, [self._rows[index] for index in indexes])
        columns = {name: [cells[index] for index in indexes] for name, cells in self._columns.items()}
        return Block.of_columns(numbers, columns)

    @property
    def names(self) -> Sequence[str] | None:
        return None if self._columns is None else list(self._columns)

    @property
    def last(self) -> int:
        """The highest number in it."""
        return max([*self.numbers[-1:], *(one.number for one in self.rejected)], default=0)

    @cached_property
    def objects(self) -> Sequence[Any]:
        """Each row as what msgspec writes as the object column → cell."""
        if self._columns is None:
            return self._rows
        return list(objects_of(self._columns, self._columns.values())) if self._columns else []

    def row(self, index: int) -> dict[str, Any]:
        """One row as column → cell."""
        if self._columns is None:
            return self._rows[index]
        return {name: cells[index] for name, cells in self._columns.items()}

    def column(self, path: str) -> Sequence[Any]:
        """The cells of a column; of nested rows, those at a path joined by dots. `None` where there is none."""
        if self._columns is None:
            if "." not in path:
                return [row.get(path) for row in self._rows]
            parts = path.split(".")
            return [row[path] if path in row else _dig(row, parts) for row in self._rows]
        if path in self._columns:
            return self._columns[path]
        first, *parts = path.split(".")
        return [_dig(cell, parts) for cell in self._columns.get(first) or [None] * len(self)]


def _dig(found: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    return found
