"""The embedded PostgreSQL: private, durable, and startable after whatever happened before."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import make_url

from runtime.embedded import claim
from runtime.embedded.account import postgres_account
from runtime.embedded.child import start_child
from runtime.embedded.errors import EmbeddedError, HeldError
from runtime.embedded.logfile import open_log
from runtime.embedded.postgres import EmbeddedPostgres, start_postgres
from runtime.embedded.wheel import BINARIES
from tests.servers import temporary_home, wait_until


def connect(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    url = make_url(server.url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(), autocommit=True)


def ask(server: EmbeddedPostgres, question: str) -> object:
    with connect(server) as connection:
        row = connection.execute(question).fetchone()
        return row[0] if row else None


def run_as_owner(data: Path, *argv: str) -> subprocess.Popen[bytes]:
    """Run a program as the user whose PostgreSQL it is; it dies with pytest."""
    with open_log(data.with_name("other.log")) as log:
        account = postgres_account(data)
        return start_child(argv, death_signal=signal.SIGINT, log=log, cwd=data, account=account)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One home for the tests that leave its data usable, with one row in it."""
    with temporary_home() as home:
        with start_postgres(home) as server, connect(server) as connection:
            connection.execute("create table kept as select 42 as answer")
        yield home


def test_is_private_and_durable(home: Path) -> None:
    with start_postgres(home) as server:
        assert ask(server, "show listen_addresses") == ""
        assert psutil.Process(server.pid).net_connections("tcp") == []
        assert stat.S_IMODE(server.store.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.log.stat().st_mode) == 0o600
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert ask(server, f"show {setting}") == "on"
        assert ask(server, "select answer from kept") == 42
        pid = server.pid
    assert not psutil.pid_exists(pid)


def test_rows_stay_out_of_the_log(home: Path) -> None:
    with start_postgres(home) as server, connect(server) as connection:
        connection.execute("create temp table person (email text primary key)")
        connection.execute("insert into person values ('jane@example.com')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("insert into person values ('jane@example.com')")
        wait_until(lambda: "person_pkey" in server.log.read_text(), "the refusal in the log")
        assert "jane" not in server.log.read_text()


def test_restarts_after_postmaster_is_killed_under_a_busy_backend(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "GRACE", 0.2)
    with start_postgres(home) as server, closing(connect(server)) as busy:
        # Counts without ever looking whether the postmaster still lives.
        busy.pgconn.send_query(b"do $$ begin loop end loop; end $$")
        running = f"select state from pg_stat_activity where pid = {busy.info.backend_pid}"
        wait_until(lambda: ask(server, running) == "active", "the query to run")
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: server.poll() is not None, "the postmaster's end")
        assert claim.processes_of(claim.Remains(server.store, "postgres", signal.SIGQUIT))
        server.start()
        assert ask(server, "select answer from kept") == 42


def test_starts_when_the_old_pid_now_belongs_to_another_process(home: Path) -> None:
    with start_postgres(home) as server:
        remains = (server.store / "postmaster.pid").read_text()
        old = server.pid
    with run_as_owner(server.store, "/bin/sleep", "60") as other:
        try:
            stale = remains.replace(str(old), str(other.pid), 1)
            for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
                (server.store / name).write_text(stale)
            server.start()
            assert ask(server, "select answer from kept") == 42
        finally:
            server.stop()
            other.kill()


def test_second_supervisor_is_refused_by_pid(home: Path) -> None:
    with start_postgres(home), pytest.raises(HeldError, match=rf"process {os.getpid()} .*kill {os.getpid()}"):
        start_postgres(home)


def test_server_of_someone_else_on_the_data_is_refused_by_pid(home: Path) -> None:
    data = home.resolve() / "postgres"
    argv = [str(BINARIES / "postgres"), "-D", str(data), "-c", "listen_addresses=", "-k", str(data)]
    with run_as_owner(data, *argv) as other:
        try:
            wait_until((data / ".s.PGSQL.5432").exists, "the other server")
            with pytest.raises(EmbeddedError, match=rf"\b{other.pid}\b.*pg_ctl stop -D {data}"):
                start_postgres(home)
        finally:
            other.send_signal(signal.SIGINT)


def test_a_recovery_that_takes_longer_than_a_start_may_is_waited_for() -> None:
    """As after a kill with gigabytes of write-ahead log behind the last checkpoint."""
    with temporary_home() as home:
        with start_postgres(home):
            pass
        data = home / "postgres"
        with (data / "postgresql.conf").open("a") as configuration:
            # PostgreSQL asks the archive first, and this one takes its time to say that it has nothing.
            configuration.write("restore_command = 'sleep 2; false'\n")
        signal_file = data / "recovery.signal"
        signal_file.touch()
        shutil.chown(signal_file, user=data.stat().st_uid, group=data.stat().st_gid)
        with start_postgres(home, timeout=0.5) as server:
            assert ask(server, "select 42") == 42
        assert "the database system is" in server.log.read_text()


def test_a_mistake_in_its_configuration_is_quoted_from_the_log(home: Path) -> None:
    configuration = home / "postgres" / "postgresql.conf"
    before = configuration.read_bytes()
    configuration.write_bytes(before + b"\nno_such_setting = 1\n")
    try:
        with pytest.raises(EmbeddedError, match="no_such_setting"):
            start_postgres(home)
    finally:
        configuration.write_bytes(before)
    with start_postgres(home) as server:
        assert ask(server, "select answer from kept") == 42


def test_two_homes_beside_a_listener_on_5432() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        try:
            listener.bind(("127.0.0.1", 5432))
            listener.listen()
        except OSError:
            """Somebody else listens there, which is just as good."""
        deep = stack.enter_context(temporary_home()) / ("long, " * 20) / "home"
        deep.parent.mkdir(mode=0o700)
        closed = stack.enter_context(temporary_home()) / "closed" / "home"
        closed.parent.mkdir(mode=0o700)
        # What initdb left when it was killed in the middle.
        (closed / "postgres.new" / "base").mkdir(parents=True)

        first = stack.enter_context(start_postgres(deep))
        second = stack.enter_context(start_postgres(closed))

        assert ask(first, "show data_directory") == str(deep.resolve() / "postgres")
        assert ask(second, "show data_directory") == str(closed.resolve() / "postgres")
        elsewhere = Path(str(make_url(first.url).query["host"]))
        assert elsewhere.parent == Path(tempfile.gettempdir()).resolve()
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        stack.callback(shutil.rmtree, elsewhere)


def test_fixture_gives_a_server(postgres_url: str) -> None:
    url = make_url(postgres_url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
