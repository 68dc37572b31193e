"""Rebuilding: `roundtrip rebuild` as a user runs it, by one process and by two, and the memory it takes.

The log holds sealed events of about 400 bytes, twenty of each person; a quarter of them are looked at by the
reference loop's audiences, all of them by the ten of `benchmarks.end_to_end`. Rates are by the wall's clock and, as
other programs may share the machine, by the processor time of the command's own processes (without PostgreSQL's).
Both have the start of the interpreter in them, about a second, so even `--quick` rebuilds 400,000 events. Goals: issue
"The log", section "Speed and memory".
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import msgspec
import yaml
from sqlalchemy import Engine, create_engine, text

from adapters.database import open_database
from adapters.keys.local import new_master, parse_masters
from adapters.log.append import append
from adapters.log.read import read_head
from benchmarks.command import Run, run_command
from benchmarks.database import new_database
from benchmarks.report import Figure, arguments, conclude
from domain.records import Entry, Identifier, Record, entry_of
from domain.workspace import Workspace
from runtime.definitions import apply_workspace, open_definitions
from runtime.embedded.postgres import start_postgres

_BATCH: Final = 5_000
#: Events of one person.
_EVENTS_EACH: Final = 20
#: So much shorter are the logs of the figures that have no goal and need not be as exact.
_TENTH: Final = 10
#: Between two looks at the memory.
_PAUSE_S: Final = 0.5
#: A quarter of the events.
_HEARD: Final = ("App Installed", "Push Sent", "Push Opened", "Order Completed")
_LOOP: Final = Path("examples/push-retarget/roundtrip.yaml")
_TEN: Final = Path(__file__).with_name("end_to_end.workspace.yaml")


def main() -> None:
    asked = arguments(__doc__)
    events = 400_000 if asked.quick else 1_000_000
    with tempfile.TemporaryDirectory() as home, start_postgres(Path(home)) as server:
        figures = rebuild_figures(server.url, events)
    notes = f"{events:,} events of {events // _EVENTS_EACH:,} persons; {events // _TENTH:,} for ten audiences"
    conclude("Rebuilding", figures, asked, [notes])


def rebuild_figures(server: str, whole: int) -> list[Figure]:
    """Rebuilds a log of so many events, in a database of its own on this server."""
    keys = new_master()
    figures = []
    for workspace, name, events in (
        (_LOOP, "the reference loop's audiences", whole),
        (_TEN, "ten audiences", whole // _TENTH),
    ):
        with new_database(server) as url:
            engine = open_database(url, application="benchmark", keys=parse_masters(keys))
            try:
                _fill(engine, url, workspace, events)
                _settle(url)
                with engine.connect() as connection:
                    head = read_head(connection).position
            finally:
                engine.dispose()
            goal = 40_000 if workspace == _LOOP else None
            one = _run(url, keys, head, 1)
            figures += [
                Figure(f"rebuild, {name}, 1 job", head / one.wall, "events/s"),
                Figure(
                    f"rebuild, {name}, by its own processor time",
                    head / one.processor,
                    "events/s a core",
                    goal,
                ),
            ]
            if workspace == _LOOP:
                tenth, two = _run(url, keys, head // _TENTH, 1), _run(url, keys, head, 2)
                figures += [
                    Figure(f"rebuild, {name}, 2 jobs", head / two.wall, "events/s"),
                    Figure("rebuild, 2 jobs ÷ 1 job", one.wall / two.wall, "×", 1.7),
                    Figure("memory of a rebuild, a tenth of the log", tenth.memory, "MB"),
                    Figure("memory of a rebuild, 1 job", one.memory, "MB"),
                    Figure("memory of a rebuild, 2 jobs together", two.memory, "MB"),
                    Figure("400 MB ÷ memory of a rebuild", 400 / max(one.memory, two.memory), "×", 1),
                ]
    return figures


def _fill(engine: Engine, url: str, workspace: Path, events: int) -> None:
    document = yaml.safe_load(workspace.read_text()) | {"clock": "wall", "connections": {}, "loops": {}}
    with open_definitions(url) as definitions:
        apply_workspace(engine, definitions, Workspace.model_validate(document))
    for start in range(0, events, _BATCH):
        with engine.begin() as connection:
            append(
                connection,
                [_entry(n, events // _EVENTS_EACH) for n in range(start, min(start + _BATCH, events))],
            )


def _settle(url: str) -> None:
    """Has the server do now what it would do about the new rows during the first rebuild, beside it."""
    owner = create_engine(url, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text("CHECKPOINT"))
    owner.dispose()


def _entry(number: int, persons: int) -> Entry:
    """Most of what app users do is looked at by no audience; some of it by all."""
    person = f"user-{number * 7919 % persons:06d}"
    name = _HEARD[number // 4 % len(_HEARD)] if number % 4 == 0 else "Product Viewed"
    body = (
        f'{{"type":"track","event":"{name}","messageId":"m-{number:012d}","userId":"{person}",'
        f'"timestamp":"2026-11-24T09:00:00.000Z","properties":{{"product":"sku-{number % 997:04d}","price":19.9}}}}'
    )
    return entry_of(
        Record(
            feed="app",
            message_id=f"m-{number:012d}",
            type="track",
            name=name,
            occurred_at=1_795_000_000_000_000 + number,
            identifiers=(Identifier("user_id", person),),
            properties_at="properties",
            body=msgspec.Raw(body.encode()),
        )
    )


def _run(url: str, keys: str, goal: int, jobs: int) -> Run:
    with tempfile.TemporaryDirectory() as home:
        words = ["rebuild", "--as-of", str(goal), "--jobs", str(jobs)]
        return run_command(Path(home), url, keys, *words, pause=_PAUSE_S)


if __name__ == "__main__":
    main()
