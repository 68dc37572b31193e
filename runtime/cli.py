"""`roundtrip`: the command line. A command's module is loaded when the command is called: each part of the
machine is a process of this program, and starts with what it needs."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import structlog
import typer

from domain.mendable import Mendable
from runtime.log_lines import LineLogger

#: Where each command is, in the order in which help lists them.
COMMANDS: Final[Mapping[str, str]] = {
    "up": "runtime.commands.up:up",
    "demo": "runtime.commands.up:demo",
    "serve": "runtime.commands.parts:serve",
    "pipeline": "runtime.commands.parts:pipeline",
    "relay": "runtime.commands.parts:relay",
    "deliver": "runtime.commands.parts:deliver",
    "schedule": "runtime.commands.parts:schedule",
    "pull": "runtime.commands.parts:pull",
    "history": "runtime.commands.parts:history",
    "migrate": "runtime.commands.workspace:migrate",
    "apply": "runtime.commands.workspace:apply",
    "status": "runtime.commands.workspace:status",
    "audience": "runtime.commands.audience:app",
    "profile": "runtime.commands.profile:app",
    "identity": "runtime.commands.identity:app",
    "feed": "runtime.commands.feed:app",
    "quarantine": "runtime.commands.quarantine:app",
    "connector": "runtime.commands.connector:app",
    "connection": "runtime.commands.connection:app",
    "deliveries": "runtime.commands.deliveries:app",
    "log": "runtime.commands.log:app",
    "import": "runtime.commands.import_file:import_file",
    "imports": "runtime.commands.imports:app",
    "erase": "runtime.commands.erase:erase",
    "erasures": "runtime.commands.erasures:app",
    "keys": "runtime.commands.keys:app",
    "plan": "runtime.commands.plan:app",
    "loop": "runtime.commands.loop:app",
    "trace": "runtime.commands.trace:trace",
    "rebuild": "runtime.commands.rebuild:rebuild",
    "doctor": "runtime.commands.doctor:doctor",
}
#: Other names, that help does not list.
ALIASES: Final[Mapping[str, str]] = {"tracking-plan": "plan"}


def app_for(words: Sequence[str]) -> typer.Typer:
    """The program with the command that these words call, or with all of them where they call none."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_program)
    called = words[0] if words else ""
    name = ALIASES.get(called, called)
    for one in (name,) if name in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[one].split(":")
        found = getattr(import_module(module), attribute)
        word = called if one == name else one
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=word)
        else:
            app.command(word)(found)
    return app


def _program() -> None:
    """Customer records in, profiles and audiences, out to every tool, and the tools' engagement back."""


def main() -> None:
    """The console script. What a user can mend is said in one line."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: LineLogger(sys.stderr),
    )
    app = app_for(sys.argv[1:])
    # What is loaded by now stays: the collector need not go through it again and again.
    gc.freeze()
    try:
        app()
    except Exception as error:
        mendable = _mendable(error)
        if mendable is None:
            raise
        typer.echo(f"roundtrip: {mendable}", err=True)
        sys.exit(2)


def _mendable(error: Exception) -> str | None:
    """What the error says, or the driver's own that SQLAlchemy has wrapped in it, where its reader can mend it."""
    # No command without a database is to load its driver.
    from psycopg import OperationalError

    for one in (error, getattr(error, "orig", None)):
        if isinstance(one, Mendable):
            return str(one)
        if isinstance(one, OperationalError):
            [first, *_] = str(one).splitlines() or [type(one).__name__]
            return f"PostgreSQL: {first}; once that is mended, give the same command again"
    return None


if __name__ == "__main__":
    main()
