"""Imports that a workspace declares: files or a query, a mapping, and when they run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from domain.secret_ref import Model, Name, SecretRef

#: A run that begins this late, in microseconds, is one that was missed.
LATE: Final = 60_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Query(Model):
    """A SQL query against a warehouse: `url` is where a SQLAlchemy URL is kept, `duckdb` a file of DuckDB's.

    With `cursor`, a column that grows, each run takes the rows that are new since the last. With `key`, the
    columns that a row is known by, each run takes the rows that differ from the last; a row that is gone becomes
    a `removed_event`, where one is named.
    """

    sql: Annotated[str, Field(min_length=1)]
    url: SecretRef | None = None
    duckdb: str = ""
    cursor: str = ""
    key: list[str] = []
    removed_event: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Query:
        if (self.url is None) == (not self.duckdb):
            raise ValueError("a query names one place: 'url' (a secret) or 'duckdb' (a file)")
        if bool(self.cursor) == bool(self.key):
            raise ValueError("a query says what is new by one of 'cursor' and 'key'")
        if self.removed_event and not self.key:
            raise ValueError("'removed_event' needs 'key': with a cursor nobody sees what is gone")
        return self


class Import(Model):
    """A declared import. `schedule` is cron's syntax, in `timezone`; without it the import runs when it is told
    to. Of runs that were `missed`, one is made up for, or none. `store` and `store_secrets` are an object
    store's options, in obstore's words."""

    feed: Name
    mapping: dict[str, Any]
    files: list[str] = []
    kind: Literal["", "csv", "ndjson", "parquet"] = ""
    store: dict[str, str] = {}
    store_secrets: dict[str, SecretRef] = {}
    query: Query | None = None
    schedule: str = ""
    timezone: str = "UTC"
    missed: Literal["once", "skip"] = "once"

    @field_validator("files", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _readable(self) -> Import:
        if bool(self.files) == (self.query is not None):
            raise ValueError("an import has one of 'files' and 'query'")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"timezone '{self.timezone}' is not known; one is Europe/Berlin") from None
        if self.schedule:
            try:
                CronSim(self.schedule, datetime(2026, 1, 1, tzinfo=UTC))
            except CronSimError as error:
                raise ValueError(f"schedule '{self.schedule}' is not cron's syntax ({error})") from None
        return self


def run_due(declared: Import, after: int, now: int) -> int | None:
    """When the run was due that has to begin now: the latest time of the schedule behind `after` and not behind
    `now`, however many there were; `None` where there is none, or it was missed and such runs are skipped.

    All times are in microseconds.
    """
    zone = ZoneInfo(declared.timezone)
    # Cron's times are whole seconds: that of `now` itself is the first one looked at.
    begin = (_EPOCH + timedelta(seconds=now // 1_000_000 + 1)).astimezone(zone)
    found = next(CronSim(declared.schedule, begin, reverse=True), None)
    if found is None:
        return None
    due = (found.astimezone(UTC) - _EPOCH) // _MICROSECOND
    if due <= after or (declared.missed == "skip" and now - due > LATE):
        return None
    return due


def next_due(declared: Import, now: int) -> int | None:
    """When the schedule's next run is due, in microseconds."""
    at = (_EPOCH + now * _MICROSECOND).astimezone(ZoneInfo(declared.timezone))
    found = next(CronSim(declared.schedule, at), None)
    return None if found is None else (found.astimezone(UTC) - _EPOCH) // _MICROSECOND
