"""A rebuild reads what has gone to the lake, sealed as it was, and equals what is live."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.database import open_as_owner
from adapters.lake.place import url_of
from runtime.log_archive import archive_log
from runtime.rebuild.command import verify_live
from tests.integration.tampering import shrink_partitions
from tests.integration.test_rebuild import Log, log, silent  # noqa: F401 - a fixture


@pytest.fixture
def database(database: str) -> str:
    shrink_partitions(database, 600)
    return database


def test_a_rebuild_across_lake_and_database_equals_what_is_live(log: Log, tmp_path: Path) -> None:  # noqa: F811
    owner = open_as_owner(log.url, application="test")
    moved = archive_log(owner, f"{url_of(str(tmp_path / 'lake'))}/log", 0, lambda done, of: None)
    owner.dispose()
    assert [partition.number for partition in moved] == list(range((log.head() + 1) // 600))
    assert len(moved) > 2
    verified = verify_live(log.engine, log.task(jobs=2), log.definitions, silent)
    assert [one.projection for one in verified.tables if not one.equal] == []
    assert all(one.live.rows for one in verified.tables)
