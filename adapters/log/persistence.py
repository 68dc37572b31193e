"""The log as a persistence module for `eventsourcing` (PERSISTENCE_MODULE=adapters.log.persistence).

An application named `roundtrip` uses Roundtrip's own log, any other gets one of its own
(docs/decisions/0003-eventsourcing-persistence.md).
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

import psycopg
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    InfrastructureFactoryError,
    ProcessRecorder,
    ProgrammingError,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic, strtobool
from psycopg import sql
from sqlalchemy import Engine, event, text

from adapters.database import RoleError, open_database
from adapters.log.recorders.errors import translated
from adapters.log.recorders.events import LogAggregateRecorder, LogApplicationRecorder
from adapters.log.recorders.snapshots import SnapshotRecorder
from adapters.log.recorders.tracking import LogProcessRecorder, LogTrackingRecorder

#: The application whose log is Roundtrip's own.
OWN_APPLICATION: Final = "roundtrip"

#: PostgreSQL cuts longer names off, so that two of them might become one.
_NAME_LIMIT: Final = 63

TRecorder = TypeVar("TRecorder")
TLogTrackingRecorder = TypeVar("TLogTrackingRecorder", bound=LogTrackingRecorder)


def schema_of(application: str) -> str:
    """The PostgreSQL schema that holds an application's log. Case does not tell applications apart.

    Raises `InfrastructureFactoryError` where the name is too long for one.
    """
    name = application.lower() or "stored"
    if name == OWN_APPLICATION:
        return "public"
    schema = f"app_{name}"
    if len(schema.encode()) > _NAME_LIMIT:
        raise InfrastructureFactoryError(
            f"application name '{application}' is longer than {_NAME_LIMIT - len('app_')} bytes;"
            " name it shorter"
        )
    return schema


class LogFactory(InfrastructureFactory[LogTrackingRecorder]):
    """Makes recorders on the database of ROUNDTRIP_DATABASE_URL, which `roundtrip migrate` has prepared.

    With CREATE_TABLE (default yes) an application's log is created where it is missing.
    """

    DATABASE_URL = "ROUNDTRIP_DATABASE_URL"
    CREATE_TABLE = "CREATE_TABLE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        url = self.env.get(self.DATABASE_URL)
        if not url:
            raise InfrastructureFactoryError(
                f"{self.DATABASE_URL} is not set; set it to postgresql+psycopg://user@host/database"
            )
        self.schema = schema_of(self.env.name)
        self.engine = open_database(url, application=f"log {self.schema}")
        _look_up_only_in(self.engine, self.schema)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Events are in the log; any other purpose, as snapshots, is beside it."""
        engine = self._with_log()
        return LogAggregateRecorder(engine) if purpose == "events" else SnapshotRecorder(engine, purpose)

    def application_recorder(self) -> ApplicationRecorder:
        return self._class(self.APPLICATION_RECORDER_TOPIC, LogApplicationRecorder)(self._with_log())

    def tracking_recorder(
        self, tracking_recorder_class: type[TLogTrackingRecorder] | None = None
    ) -> TLogTrackingRecorder:
        if tracking_recorder_class is None:
            found = self._class(self.TRACKING_RECORDER_TOPIC, LogTrackingRecorder)
            tracking_recorder_class = cast(type[TLogTrackingRecorder], found)
        return tracking_recorder_class(self._with_log())

    def process_recorder(self) -> ProcessRecorder:
        return self._class(self.PROCESS_RECORDER_TOPIC, LogProcessRecorder)(self._with_log())

    def close(self) -> None:
        self.engine.dispose()

    def _class(self, variable: str, default: type[TRecorder]) -> type[TRecorder]:
        topic = self.env.get(variable)
        if not topic:
            return default
        found: Any = resolve_topic(topic)
        if isinstance(found, type) and issubclass(found, default):
            return found
        raise InfrastructureFactoryError(f"{variable} '{topic}' is not a subclass of {default.__qualname__}")

    def _with_log(self) -> Engine:
        if self.schema == "public" or not strtobool(self.env.get(self.CREATE_TABLE) or "yes"):
            return self.engine
        try:
            with translated(), self.engine.begin() as connection:
                connection.execute(text("SELECT public.log_create(:home)"), {"home": self.schema})
        except ProgrammingError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedFunction | RoleError):
                raise ProgrammingError(
                    f"the database of {self.DATABASE_URL} has no Roundtrip schema; run `roundtrip migrate`"
                ) from error
            raise
        return self.engine


def _look_up_only_in(engine: Engine, schema: str) -> None:
    """Without `public` behind it: an application whose log is missing must not find Roundtrip's own."""

    @event.listens_for(engine, "connect")
    def set_search_path(driver: psycopg.Connection[Any], _: object) -> None:
        driver.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        driver.commit()
