"""Imports that a workspace declares: files or a query, a mapping, and when they run."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from domain.schedules import check_schedule, check_timezone, latest_due, upcoming
from domain.secret_ref import Model, Name, SecretRef

#: A run that begins this late, in microseconds, is one that was missed.
LATE: Final = 60_000_000


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
        check_timezone(self.timezone)
        if self.schedule:
            check_schedule(self.schedule)
        return self


def run_due(declared: Import, after: int, now: int) -> int | None:
    """When the run was due that has to begin now: the latest time of the schedule behind `after` and not behind
    `now`, however many there were; `None` where there is none, or it was missed and such runs are skipped.

    All times are in microseconds.
    """
    due = latest_due(declared.schedule, declared.timezone, now)
    if due is None or due <= after or (declared.missed == "skip" and now - due > LATE):
        return None
    return due


def next_due(declared: Import, now: int) -> int | None:
    """When the schedule's next run is due, in microseconds."""
    return upcoming(declared.schedule, declared.timezone, now)
