"""Verifying a log in lake and database: whatever is done at its start, at the seam or at its end is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text

from adapters.lake.table import parts_of
from adapters.log.archive import StaleSnapshotError
from adapters.log.read import read_rows
from tests.integration.archive.archiving import EACH, WHOLE, alter, archived, fault_of
from tests.integration.tampering import tampering

#: The first position that is in the database; three partitions before it are in the lake.
SEAM = 3 * EACH


@pytest.fixture
def lake(engine: Engine, owner: Engine, location: str) -> str:
    """The address of the log's table in the lake, with the first three partitions."""
    assert archived(owner, location) == [0, 1, 2]
    return location


def row_at(database: str, lake: str, position: int) -> dict[str, Any]:
    """What stands at a position in either place, but for the position itself and the time."""
    if position < SEAM:
        [part] = [p for p in parts_of(lake, position // EACH) if p.first <= position <= p.last]
        rows = pq.ParquetFile(Path(lake.removeprefix("file://")) / part.path).read().to_pylist()
        found = next(row for row in rows if row["position"] == position)
    else:
        with tampering(database) as connection:
            query = text("SELECT * FROM log WHERE position = :at")
            found = dict(connection.execute(query, {"at": position}).mappings().one())
    found = {name: found[name] for name in ("stream_id", "version", "topic", "subject", "state")}
    return found | {name: found[name] and str(found[name]) for name in ("stream_id", "subject")}


def change(database: str, lake: str, position: int, to: dict[str, Any] | None) -> None:
    """Alters the row in either place, or takes it away."""
    if position < SEAM:
        alter(lake, position, to)
        return
    statement = "DELETE FROM log" if to is None else f"UPDATE log SET {', '.join(f'{k} = :{k}' for k in to)}"
    with tampering(database) as connection:
        connection.execute(text(f"{statement} WHERE position = :at"), {**(to or {}), "at": position})


@pytest.mark.parametrize("position", [1, SEAM - 1, SEAM, WHOLE])
@pytest.mark.parametrize(("to", "kind"), [({"state": b"x"}, "altered"), (None, "missing")])
def test_a_row_at_an_end_or_at_the_seam_is_named(
    database: str, lake: str, position: int, to: dict[str, Any] | None, kind: str
) -> None:
    change(database, lake, position, to)
    assert (fault_of(database).kind, fault_of(database).position) == (kind, position)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (SEAM - 1, SEAM), (5, WHOLE)])
def test_rows_that_changed_places_across_the_seam_are_named(database: str, lake: str, a: int, b: int) -> None:
    at_a, at_b = row_at(database, lake, a), row_at(database, lake, b)
    change(database, lake, a, at_b)
    change(database, lake, b, at_a)
    fault = fault_of(database)
    assert (fault.kind, fault.position) == ("reordered", a)
    assert f"appended at position {b}" in fault.what


@pytest.mark.parametrize(
    ("statement", "position"),
    [("DROP TABLE log_3", SEAM), ("DELETE FROM log_archive WHERE partition = 1", EACH)],
)
def test_a_partition_that_the_owner_dropped_is_missing_and_no_reader_passes_over_it(
    lake: str,
    engine: Engine,
    database: str,
    statement: str,
    position: int,
) -> None:
    with tampering(database) as connection:
        connection.execute(text(statement))
    assert (fault_of(database).kind, fault_of(database).position) == ("missing", position)
    with pytest.raises(StaleSnapshotError, match="roundtrip log verify"), engine.connect() as reader:
        read_rows(reader, position - 1, 5)
