"""How a simulator lives: a process of its own, on loopback, that says in a file when and where it serves."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import tempfile
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Key in a request's scope under which its connection can be cut.
CUT: Final = "simulators.cut"

_LOOPBACK: Final = "127.0.0.1"
_LAST_PORT: Final = 65_535
_PR_SET_PDEATHSIG: Final = 1
#: Seconds that requests under way have to finish after SIGTERM.
_GRACE: Final = 2


class Start(NamedTuple):
    """How a simulator is started."""

    ready_file: Path
    port: int
    die_with_parent: bool


def command_line(name: str, description: str) -> ArgumentParser:
    """The options that all simulators have; a simulator adds its own."""
    parser = ArgumentParser(f"python -m simulators.{name}", description=description, allow_abbrev=False)
    parser.add_argument(
        "--state", type=Path, required=True, help="SQLite file with all that has to outlive the process"
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        required=True,
        help="where {url, pid} is written once requests are answered",
    )
    parser.add_argument(
        "--port", type=_port, default=0, help="port on loopback; 0, the default, takes a free one"
    )
    parser.add_argument(
        "--die-with-parent", action="store_true", help="end when the process that started this does"
    )
    return parser


def add_secret(parser: ArgumentParser, option: str, variable: str, help: str) -> None:
    """An option that may stand in the environment instead, where other users cannot read it."""
    given = os.environ.get(variable)
    parser.add_argument(option, default=given, required=given is None, help=f"{help}; or ${variable}")


def start_of(arguments: Namespace) -> Start:
    return Start(arguments.ready_file, arguments.port, arguments.die_with_parent)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LAST_PORT:
        raise ArgumentTypeError(f"{text!r} is no port: write a number from 0 to {_LAST_PORT}")
    return int(text)


class _Protocol(HttpToolsProtocol):
    """Lets an application cut the connection of the request that it is answering."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CUT: {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready_file: Path, url: str) -> None:
        super().__init__(config)
        self._ready_file = ready_file
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _write(self._ready_file, json.dumps({"url": self._url, "pid": os.getpid()}))


def serve(app: ASGIApp, started: Start) -> None:
    """Serve until SIGTERM or SIGINT, which end it with exit code 0.

    The ready file of an earlier run is removed first, so that one that is there is true. Ends with exit
    code 2 and says so where the port is taken.
    """
    # Uvicorn raises the signal again after it has shut down, by which a clean end would look like a kill.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))
    if started.die_with_parent:
        end_with_parent()
    started.ready_file.unlink(missing_ok=True)
    listening = _listen(started.port)
    url = f"http://{_LOOPBACK}:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        app, http=_Protocol, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE
    )
    _Server(config, started.ready_file, url).run(sockets=[listening])


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends. Linux only."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        # The parent died before the line above, so no signal will ever come.
        sys.exit(1)


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port that was just in use can be taken again at once after a kill.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_LOOPBACK, port))
    except OSError as error:
        listening.close()
        print(
            f"port {port} cannot be served on: {error.strerror}; name another --port, or 0", file=sys.stderr
        )
        sys.exit(2)
    return listening


def _write(path: Path, content: str) -> None:
    """The whole file in one step: who waits for it never reads half of it."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    Path(draft).replace(path)
