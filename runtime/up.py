"""`roundtrip up`: the engines and every part, in one process tree."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

from sqlalchemy import make_url

from adapters.database import APPLICATION_ROLE
from runtime.definitions import apply_workspace, open_definitions
from runtime.embedded.private_file import replace
from runtime.engines import Engines, open_engines
from runtime.master_key import FILE_VARIABLE, VARIABLE, master_key_file
from runtime.migrate import migrate
from runtime.processes import Part, hold_home, run_parts
from runtime.pull.run import is_pulled
from runtime.scheduled.schedule import is_scheduled
from runtime.settings import Settings
from runtime.workspace_file import read_workspace

PARTS: Final = ("serve", "pipeline", "relay", "deliver", "history")


class Ready(NamedTuple):
    """A Roundtrip whose engines run and whose schema and workspace are in place."""

    engines: Engines
    url: str
    environment: Mapping[str, str]
    parts: tuple[str, ...]


@contextmanager
def prepared(settings: Settings, workspace: Path, http_fixed: bool) -> Iterator[Ready]:
    """Starts the engines, migrates, and applies the workspace. Raises what is wrong with either."""
    declared = read_workspace(workspace)
    with hold_home(settings.home), open_engines(settings) as engines:
        migrate(settings.database_owner_url or engines.database_url)
        database = engines.open("up")
        try:
            with open_definitions(engines.database_url) as definitions:
                apply_workspace(database, definitions, declared)
        finally:
            database.dispose()
        port = _port(settings.http_host, settings.http_port, http_fixed)
        url = f"http://{_bracketed(settings.http_host)}:{port}"
        environment = {
            "ROUNDTRIP_HOME": str(settings.home),
            "ROUNDTRIP_DATABASE_URL": _login_of_parts(settings, engines),
            "ROUNDTRIP_NATS_URL": engines.nats_url,
            "ROUNDTRIP_API_TOKEN": settings.api_token,
            "ROUNDTRIP_HTTP": f"{_bracketed(settings.http_host)}:{port}",
        }
        if VARIABLE not in os.environ and FILE_VARIABLE not in os.environ:
            environment[FILE_VARIABLE] = str(master_key_file(settings.home))
        replace(settings.home / "http.json", json.dumps({"url": url}))
        further = [
            part for part, needed in (("pull", is_pulled), ("schedule", is_scheduled)) if needed(declared)
        ]
        # Most workspaces pull nothing and schedule nothing, and need no processes for it.
        yield Ready(engines, url, environment, (*PARTS, *further))


def run(settings: Settings, ready: Ready, stop: Event, report: Callable[[str], None]) -> None:
    """Runs the parts until `stop` or a signal. Main thread only."""
    parts = [
        Part(name, [sys.executable, "-m", "runtime.cli", name], ready.environment) for name in ready.parts
    ]
    run_parts(parts, stop=stop, home=settings.home, engines=ready.engines.started, report=report)


def _login_of_parts(settings: Settings, engines: Engines) -> str:
    """On the embedded server the parts log in as the application, and not as the owner of the tables."""
    if settings.database_url is not None:
        return engines.database_url
    return make_url(engines.database_url).set(username=APPLICATION_ROLE).render_as_string(False)


def _port(host: str, port: int, fixed: bool) -> int:
    """The port asked for; a free one where that is taken and nobody insisted."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            if fixed:
                raise
            probe.bind((host, 0))
        found: int = probe.getsockname()[1]
        return found


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def http_fixed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment insists on where the HTTP API listens."""
    return bool(environ.get("ROUNDTRIP_HTTP"))
