"""The embedded PostgreSQL: a real server from a wheel, as our own child, on a private unix socket only.

The data lies in `<home>/postgres`, the log in `<home>/postgres.log`. As root the server runs as another
user, and closed folders above the home (mode 0700, such as /root) are opened for everyone to pass through:
see `account.open_way`. When this process dies, the server shuts down by itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from adapters.database import APPLICATION_ROLE
from runtime.embedded.account import Account, open_installation, open_way, postgres_account
from runtime.embedded.child import ended, start_child, stop_child
from runtime.embedded.claim import Claim, Remains, claim, processes_of
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.logfile import open_log, tail
from runtime.embedded.postgres_socket import PORT, server_options, socket_directory
from runtime.embedded.server import EmbeddedServer
from runtime.embedded.wheel import BINARIES, VERSION

DATABASE = "roundtrip"
_SUPERUSER = "postgres"
#: What a server says that has to read its write-ahead log first. The driver knows no code of a refused connection.
_RECOVERING = (
    "the database system is starting up",
    "is not yet accepting connections",
    "is in recovery mode",
)


class EmbeddedPostgres(EmbeddedServer):
    """One server in one home. Made by `start_postgres`; a context manager that stops it."""

    name = "postgres"
    title = "PostgreSQL"
    #: Fast shutdown, which writes a checkpoint; then immediate shutdown, after which the next start recovers.
    _stop_by = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._socket = self.store

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database `roundtrip`; it holds no secret."""
        query = {"host": str(self._socket), "port": str(PORT)}
        return URL.create("postgresql+psycopg", _SUPERUSER, database=DATABASE, query=query).render_as_string()

    def start(self, timeout: float = 60.0) -> None:
        """Run the server and wait, at most `timeout` seconds, until the database accepts connections; ten times as long
        while it answers that it recovers, for which it reads what was written since its last checkpoint.

        Also the way to restart a server that ended. Raises EmbeddedError with the end of the server's log.
        """
        self.stop()
        self.home.mkdir(mode=0o711, parents=True, exist_ok=True)
        remains = Remains(self.store, "postgres", signal.SIGQUIT)
        self._claim = claim(self.home, self.name, remains)
        try:
            account = postgres_account(self.store)
            if account:
                open_installation(BINARIES)
            self._initialise(account)
            if account:
                open_way(self.store)
            _remove_stale_lock_files(remains, self._socket, self.log)
            self._socket = socket_directory(self.store, account)
            self._run(account, self._claim)
            self._await_database(timeout)
        except BaseException:
            self.stop()
            raise

    def _initialise(self, account: Account | None) -> None:
        version = self.store / "PG_VERSION"
        if version.exists():
            if (written := version.read_text().strip()) != str(VERSION):
                raise EmbeddedError(
                    f"{self.store}: was written by PostgreSQL {written}, and this is PostgreSQL {VERSION}; "
                    "upgrade it with pg_upgrade, or set ROUNDTRIP_HOME to a new directory"
                )
            return
        # Made aside and then renamed: a kill in the middle leaves nothing that looks like a data directory.
        unfinished = self.store.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            os.chown(unfinished, account.uid, account.gid)
            open_way(unfinished)
        # Sorting and case mapping built into PostgreSQL: an upgrade of the C library cannot corrupt an index.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        # Commits wait as a new file of the write-ahead log is filled with zeros: a quarter as long, and more often.
        how = ("--auth=trust", "--wal-segsize=4", *locale)
        argv = [str(BINARIES / "initdb"), "-D", str(unfinished), "-U", _SUPERUSER, *how]
        with open_log(self.log) as log:
            child = start_child(
                argv,
                death_signal=signal.SIGTERM,
                log=log,
                cwd=unfinished,
                env=_environment(),
                account=account,
            )
        try:
            if not ended(child, within=60.0) or child.returncode != 0:
                raise EmbeddedError(f"{self.store}: initdb failed; the end of {self.log}:\n{tail(self.log)}")
        finally:
            stop_child(child, ())
        unfinished.rename(self.store)

    def _run(self, account: Account | None, held: Claim) -> None:
        argv = [str(BINARIES / "postgres"), "-D", str(self.store), *server_options(self._socket, self.store)]
        with open_log(self.log) as log:
            self._child = start_child(
                argv,
                death_signal=signal.SIGINT,
                log=log,
                cwd=self.store,
                env=_environment(),
                account=account,
                inherited=[held.running],
            )

    def _await_database(self, timeout: float) -> None:
        began = time.monotonic()
        target = make_conninfo(
            host=str(self._socket), port=PORT, user=_SUPERUSER, dbname=_SUPERUSER, connect_timeout=5
        )
        while True:
            try:
                with psycopg.connect(target, autocommit=True) as connection:
                    _ensure_database(connection)
                    return
            except psycopg.OperationalError as error:
                # A recovery that is ended here begins again at the next start.
                recovers = any(words in str(error) for words in _RECOVERING)
                allowed = 10 * timeout if recovers else timeout
                self._still_starting(began + allowed, allowed, "on a slow disk", str(error))


def start_postgres(home: Path, *, timeout: float = 60.0) -> EmbeddedPostgres:
    """Start PostgreSQL in `home` and return it once the database `roundtrip` is there. Main thread only.

    Waits first for what a killed supervisor left behind. Raises HeldError when another supervisor runs it,
    EmbeddedError when it cannot start.
    """
    server = EmbeddedPostgres(home)
    server.start(timeout)
    return server


def _ensure_database(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    if not connection.execute("select 1 from pg_roles where rolname = %s", [APPLICATION_ROLE]).fetchone():
        # The parts log in as the application itself: no statement of theirs can take the owner's role back.
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(APPLICATION_ROLE)))


def _environment() -> dict[str, str]:
    """Ours without the variables that steer PostgreSQL: a PGPORT or PGDATA is meant for another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _remove_stale_lock_files(remains: Remains, socket: Path, log: Path) -> None:
    """Remove the pid files of a killed server: by now their pid may belong to any process, which PostgreSQL
    would take for a running server. The claim says that no server of ours lives; one of another's might."""
    if foreign := processes_of(remains):
        pids = " ".join(str(process.pid) for process in foreign)
        raise EmbeddedError(
            f"{remains.directory}: a PostgreSQL that Roundtrip did not start (processes {pids}) runs on this "
            f"data directory; stop it (pg_ctl stop -D {remains.directory})"
        )
    for stale in (remains.directory / "postmaster.pid", socket / f".s.PGSQL.{PORT}.lock"):
        stale.unlink(missing_ok=True)
