"""Events of `eventsourcing` applications in the log, read by aggregate and in order of position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    StoredEvent,
    Subscription,
)
from sqlalchemy import Connection, Engine, select

from adapters.log.append import append
from adapters.log.read import read_head
from adapters.log.recorders.errors import translated
from adapters.log.recorders.identity import keep_names, stream_of, version_of
from adapters.log.recorders.subscription import LogSubscription
from adapters.log.schema import log, log_name, log_stream
from domain.records import Entry


class LogRecorder:
    """What every recorder works on: the database in which the application's log is looked up first."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine


class LogAggregateRecorder(LogRecorder, AggregateRecorder):
    """Stores events in the log and reads them by aggregate.

    Raises `IntegrityError` where a version exists already; then nothing of the batch is stored.
    """

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self._store(stored_events, **kwargs)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        version = log_stream.c.version
        statement = (
            select(version, log.c.topic, log.c.state)
            .join_from(log_stream, log, log.c.position == log_stream.c.position)
            .where(log_stream.c.stream_id == stream_of(originator_id))
            .order_by(version.desc() if desc else version)
            .limit(limit)
        )
        if gt is not None:
            statement = statement.where(version > gt)
        if lte is not None:
            statement = statement.where(version <= lte)
        with translated(), self.engine.connect() as connection:
            return [StoredEvent(originator_id, *row) for row in connection.execute(statement)]

    def _store(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> list[int]:
        with translated(), self.engine.begin() as connection:
            return self._insert_events(connection, stored_events, **kwargs)

    def _insert_events(
        self, connection: Connection, stored_events: Sequence[StoredEvent], **_: Any
    ) -> list[int]:
        """Stores the events within the connection's transaction; their positions.

        A subclass that records more in the same transaction does so before it calls this: from here until
        the commit every other append waits.
        """
        if not stored_events:
            return []
        entries = [
            Entry(str(stream_of(event.originator_id)), version_of(event), event.topic, None, event.state)
            for event in stored_events
        ]
        keep_names(connection, stored_events)
        batch = append(connection, entries, must_be_new=True)
        return [appended.position for appended in batch.appended]


class LogApplicationRecorder(LogAggregateRecorder, ApplicationRecorder):
    """Stores events in the log and reads them also in order of position, which is their notification id."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self._store(stored_events, **kwargs)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        position = log.c.position
        statement = (
            select(position, log.c.stream_id, log_name.c.name, log.c.version, log.c.topic, log.c.state)
            .outerjoin_from(log, log_name, log_name.c.stream_id == log.c.stream_id)
            .order_by(position)
            .limit(limit)
        )
        if start is not None:
            statement = statement.where(position >= start if inclusive_of_start else position > start)
        if stop is not None:
            statement = statement.where(position <= stop)
        if topics:
            statement = statement.where(log.c.topic.in_(topics))
        with translated(), self.engine.connect() as connection:
            return [
                Notification(
                    id=row.position,
                    originator_id=row.stream_id if row.name is None else row.name,
                    originator_version=row.version,
                    topic=row.topic,
                    state=row.state,
                )
                for row in connection.execute(statement)
            ]

    def max_notification_id(self) -> int | None:
        with translated(), self.engine.connect() as connection:
            return read_head(connection).position or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """The notifications above `gt`, and then those to come. It holds a connection outside the pool."""
        return LogSubscription(self, self.engine, gt=gt, topics=topics)
