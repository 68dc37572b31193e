"""The disk is full beneath the database and the logs, beneath NATS, and beneath the lake: nothing that was answered
with success is lost meanwhile, and with room everything goes on by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from deltalake.exceptions import DeltaError

from adapters.database import open_database
from adapters.history.tables import History
from benchmarks.of_loops.vendors import Simulator
from benchmarks.platform import platform
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.engines import running
from runtime.history import HistoryWriter
from runtime.up import PARTS
from tests.faults.conftest import SECRETS, WORKSPACE
from tests.faults.traffic import Traffic
from tests.faults.verifying import verify
from tests.integration.test_history import WORKSPACE as AUDIENCES_OF_HISTORY
from tests.integration.test_history import bulk, stream, take_in
from tests.keys import KEYS
from tests.servers import temporary_home, wait_until

MEGABYTE = 1024 * 1024


class Disk:
    """A small file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left as long as the block lasts."""
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(MEGABYTE)):
                pass
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(b"x"):
                pass
        try:
            yield
        finally:
            self._ballast.unlink()


@contextmanager
def disk(place: Path, megabytes: int) -> Iterator[Disk]:
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A place with a path short enough for a unix socket, in which others may look around."""
    with temporary_home() as home:
        yield home


def test_full_disks_make_no_false_success_and_room_is_enough_to_go_on(home: Path, push: Simulator) -> None:
    with (
        disk(home, 320) as under_all,
        disk(home / "nats", 64) as under_nats,
        platform(WORKSPACE, {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url}, home) as ours,
    ):
        engines = running(ours.home)
        assert engines is not None
        traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
        with traffic.flowing():
            traffic.goes_on()
            with under_nats.full():
                # It is in the way of no record.
                traffic.goes_on(200)
                wait_until(lambda: said(home / "nats.log", "no space left"), "NATS to find no room")
            traffic.goes_on()
            with under_all.full():
                wait_until(lambda: bool(traffic.refused), "callers to be told to try again")
            traffic.goes_on(200)
        assert {one.status_code for one in traffic.refused} == {503}
        verify(ours, engines, traffic.answered, push)


def test_a_full_lake_is_written_in_whole_once_there_is_room(database: str, tmp_path: Path) -> None:
    engine = open_database(database, application="test", keys=KEYS)
    with open_definitions(database) as definitions, disk(tmp_path / "lake", 4) as under_lake:
        apply_workspace(engine, definitions, Workspace.model_validate(AUDIENCES_OF_HISTORY))
        take_in(engine, definitions, 150, seed=3)
        history = History(str(under_lake.place))
        with under_lake.full(), pytest.raises(DeltaError, match="No space left"):
            HistoryWriter(engine, definitions, history).turn()
        HistoryWriter(engine, definitions, history).turn()
        assert any(stream(engine).values())
        assert bulk(engine, definitions, history) == stream(engine)
    engine.dispose()


def said(log: Path, what: str) -> bool:
    return what in log.read_text(errors="replace")


def test_logs_that_cannot_be_written_stop_nothing(home: Path, push: Simulator) -> None:
    (home / "log").mkdir()
    for part in PARTS:
        (home / "log" / f"{part}.log").symlink_to("/dev/full")
    with platform(WORKSPACE, {**SECRETS, "ROUNDTRIP_PUSH_URL": push.url}, home) as ours:
        engines = running(ours.home)
        assert engines is not None
        traffic = Traffic(ours.url, SECRETS["ROUNDTRIP_APP_WRITE_KEY"])
        with traffic.flowing():
            traffic.goes_on()
            # What the parts have to say of it cannot be written.
            end_connections(engines.database_url)
            traffic.goes_on(200)
        assert {one.status_code for one in traffic.refused} <= {503}
        verify(ours, engines, traffic.answered, push)


def end_connections(database: str) -> None:
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'roundtrip %'"
        )
