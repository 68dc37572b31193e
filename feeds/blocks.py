"""Rows side by side: a block is some thousand rows, whose columns are read as columns.

What is done once a block and column costs little a row; a block is bounded in rows and in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from feeds.rows import Rejected

BLOCK_ROWS: Final = 5_000
BLOCK_BYTES: Final = 8 * 1024 * 1024


class Block:
    """Rows with their numbers in the file, and the rows among them that could not be read. `names` are the
    columns, `None` where each row has its own."""

    def __init__(
        self,
        numbers: Sequence[int],
        rows: Sequence[dict[str, Any]],
        rejected: Sequence[Rejected] = (),
        names: Sequence[str] | None = None,
    ) -> None:
        self.numbers = numbers
        self.rejected = rejected
        self.names = names
        self._rows = rows
        self._columns: Mapping[str, Sequence[Any]] = {}

    @classmethod
    def of_columns(cls, first: int, columns: Mapping[str, Sequence[Any]]) -> Block:
        """Rows numbered from `first` on, of columns that are equally long."""
        count = len(next(iter(columns.values()), ()))
        block = cls(range(first, first + count), (), (), list(columns))
        block._columns = columns
        return block

    def __len__(self) -> int:
        return len(self.numbers)

    def only(self, indexes: Sequence[int]) -> Block:
        """These rows of it, with their numbers; none that was rejected."""
        rows = [self.rows[index] for index in indexes]
        return Block([self.numbers[index] for index in indexes], rows, (), self.names)

    @property
    def last(self) -> int:
        """The highest number in it."""
        return max([*self.numbers[-1:], *(one.number for one in self.rejected)], default=0)

    @cached_property
    def rows(self) -> Sequence[dict[str, Any]]:
        """Each row as column → cell."""
        if not self._columns:
            return self._rows
        names = tuple(self._columns)
        return [dict(zip(names, cells, strict=True)) for cells in zip(*self._columns.values(), strict=True)]

    def column(self, path: str) -> Sequence[Any]:
        """The cells of a column; of nested rows, those at a path joined by dots. `None` where there is none."""
        if path in self._columns:
            return self._columns[path]
        if "." not in path:
            return [row.get(path) for row in self.rows]
        parts = path.split(".")
        return [_dig(row, path, parts) for row in self.rows]


def _dig(row: dict[str, Any], path: str, parts: Sequence[str]) -> Any:
    if path in row:
        return row[path]
    found: Any = row
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    return found
