"""One run of a declared import: told to the log when it begins and when it has ended, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog
from sqlalchemy import Engine, text

from adapters.files import NoFileError, find_files, open_file
from adapters.import_runs import Run, begin_run, end_run
from adapters.imports import ImportMovedError
from adapters.log.append import append
from adapters.projections.definitions import load_workspace
from adapters.warehouse import WarehouseError
from domain.imports import Import
from domain.records import Entry, derive_id
from domain.secret_ref import SecretRef
from domain.tracking_plan import PlanOfFeed
from feeds.mapping import Mapping as TableMapping
from feeds.rows import FileError
from runtime.failpoints import failpoint
from runtime.identity_rules import rules_of
from runtime.imports import rejected_file, run_import
from runtime.scheduled.tables import Counts, Source, run_query
from runtime.workspace_view import read_secret

log = structlog.get_logger("imports")


class ImportBusyError(Exception):
    """Another process runs this import."""


class ImportFailed(Exception):
    """The import could not be carried out; the text says why, without data."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where imports run: the log, the folder for rejected rows, and the environment that has the secrets."""

    engine: Engine
    home: Path
    environ: Mapping[str, str]


def now() -> int:
    """The wall's time in microseconds."""
    return time.time_ns() // 1_000


def run_declared(place: Place, name: str, declared: Import, plan: PlanOfFeed | None, due: int) -> Run:
    """Runs an import; what came of it. The run that was due then is one run, however often it is begun.

    Raises `ImportBusyError`, and SQLAlchemy's errors where the log does not answer: the run is then not ended,
    and may be begun again.
    """
    with _held(place.engine, name):
        run = Run(derive_id("import_run", name, str(due)), name, due, now())
        with place.engine.begin() as connection:
            begin_run(connection, run)
            told = {"import": name, "feed": declared.feed, "due": due}
            append(connection, [Entry(run.id, 1, "import.started", None, msgspec.json.encode(told))])
            failpoint("schedule.before_start")
        failpoint("schedule.started")
        try:
            counts, reason = _carried_out(place, name, declared, plan, run), ""
        except (ImportFailed, NoFileError, FileError, ImportMovedError, WarehouseError) as error:
            counts, reason = Counts(), str(error)
            log.error("import failed", name=name, reason=reason)
        outcome = "failed" if reason else "finished"
        ended = run._replace(ended_at=now(), outcome=outcome, reason=reason, **counts._asdict())
        told = {"import": name, "due": due, **counts._asdict(), "reason": reason}
        with place.engine.begin() as connection:
            end_run(connection, ended)
            append(connection, [Entry(run.id, 2, f"import.{outcome}", None, msgspec.json.encode(told))])
            failpoint("schedule.before_end")
        return ended


def _carried_out(place: Place, name: str, declared: Import, plan: PlanOfFeed | None, run: Run) -> Counts:
    mapping = TableMapping.model_validate(declared.mapping)
    if declared.query is not None:
        reference = declared.query.url
        url = "" if reference is None else _secret(reference, place.environ)
        plans = {} if plan is None else {declared.feed: plan}
        with place.engine.connect() as connection:
            rules = rules_of(load_workspace(connection))
        return run_query(place.engine, Source(name, declared, mapping, url, plans, rules), run)
    options = dict(declared.store)
    for option, reference in declared.store_secrets.items():
        options[option] = _secret(reference, place.environ)
    aside = place.home / "rejected" / name
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    counts = Counts()
    for pattern in declared.files:
        for file in find_files(pattern, options):
            with open_file(file, declared.kind, options) as opened:
                beside = aside / rejected_file(file).name
                done = run_import(
                    place.engine, opened, declared.feed, mapping, run.started_at, plan=plan, aside=beside
                )
            if done.started_at == run.started_at:
                counts = counts.plus(done.taken, done.known, done.rejected)
    return counts


def _secret(reference: SecretRef, environ: Mapping[str, str]) -> str:
    secret, missing = read_secret(reference, environ)
    if missing:
        raise ImportFailed(missing)
    return secret


@contextmanager
def _held(engine: Engine, name: str) -> Iterator[None]:
    """Holds the import for this process, as long as the block lasts."""
    key = int.from_bytes(hashlib.sha256(f"import {name}".encode()).digest()[:8], "big", signed=True)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            _busy(name)
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


def _busy(name: str) -> NoReturn:
    raise ImportBusyError(f"import '{name}' is running; wait for that run to end")


def place_of(engine: Engine, home: Path) -> Place:
    """The place of this process."""
    return Place(engine, home, os.environ)
