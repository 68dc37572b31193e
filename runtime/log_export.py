"""Exporting the log to a file, row by row in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from sqlalchemy import Engine

from adapters.lake.columns import COLUMNS, table_of
from adapters.log.line import line_of_row
from adapters.log.read import pages
from domain.mendable import Mendable
from domain.records import Row

#: Rows that are written at once.
CHUNK_ROWS: Final = 20_000

Write = Callable[[list[Row]], None]
Choose = Callable[[Iterable[Row]], Iterable[Row]]


class ExportError(Mendable):
    """A file that the log cannot be exported to."""


def export_log(
    engine: Engine,
    file: Path,
    first: int,
    last: int,
    progress: Callable[[int], None],
    wanted: Choose = list,
) -> int:
    """Writes those of the rows at positions `first` to `last` that are `wanted` to an .ndjson or a .parquet file; how
    many those are.

    The file is there when it is whole. `progress` is told the position that is reached. Raises `ExportError`
    where the file's name says no format, or it cannot be written.
    """
    if file.suffix not in _FORMATS:
        raise ExportError(f"{file}: its name says no format; end it in {' or '.join(_FORMATS)}")
    unfinished = file.with_name(f"{file.name}.part")
    count = 0
    try:
        with _FORMATS[file.suffix](unfinished) as write:
            for chunk in pages(engine, first - 1, last, CHUNK_ROWS):
                rows = list(wanted(chunk))
                write(rows)
                count += len(rows)
                progress(chunk[-1].position)
        unfinished.replace(file)
    except OSError as error:
        raise ExportError(f"{file}: cannot be written ({error.strerror}); name another place") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


@contextmanager
def _ndjson(file: Path) -> Iterator[Write]:
    with file.open("wb") as out:
        yield lambda rows: out.writelines(line_of_row(row) + b"\n" for row in rows)


@contextmanager
def _parquet(file: Path) -> Iterator[Write]:
    with pq.ParquetWriter(file, COLUMNS, compression="zstd") as writer:
        yield lambda rows: writer.write_table(table_of(rows))


_FORMATS: Final = {".ndjson": _ndjson, ".parquet": _parquet}
