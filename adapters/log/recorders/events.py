"""Events of `eventsourcing` applications in the log, read by aggregate and in order of position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    OperationalError,
    StoredEvent,
    Subscription,
)
from sqlalchemy import Connection, Engine, select

from adapters.log.append import append
from adapters.log.read import read_head, read_positions, read_rows, read_topics
from adapters.log.recorders.errors import translated
from adapters.log.recorders.identity import keep_names, names_of, stream_of, version_of
from adapters.log.recorders.subscription import LogSubscription
from adapters.log.schema import log, log_stream
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
        version, position = log_stream.c.version, log_stream.c.position
        statement = (
            select(version, position, log.c.topic, log.c.state)
            .outerjoin_from(log_stream, log, log.c.position == position)
            .where(log_stream.c.stream_id == stream_of(originator_id))
            .order_by(version.desc() if desc else version)
            .limit(limit)
        )
        if gt is not None:
            statement = statement.where(version > gt)
        if lte is not None:
            statement = statement.where(version <= lte)
        with translated(), self.engine.connect() as connection:
            found = connection.execute(statement).all()
            elsewhere = [row.position for row in found if row.topic is None]
            archived = (
                {row.position: row for row in read_positions(connection, elsewhere)} if elsewhere else {}
            )
        events = []
        for row in found:
            said = row if row.topic is not None else archived.get(row.position)
            if said is None:
                raise OperationalError(
                    f"the log has no row at position {row.position}, where version {row.version} of"
                    f" {originator_id} stands; see `roundtrip log verify`"
                )
            events.append(StoredEvent(originator_id, row.version, said.topic, said.state))
        return events

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
        if limit < 1:
            return []
        after = 0 if start is None else start - 1 if inclusive_of_start else start
        with translated(), self.engine.connect() as connection:
            if topics:
                rows = read_topics(connection, max(after, 0), limit, stop, topics)
            else:
                rows = read_rows(connection, max(after, 0), limit, stop)
            names = names_of(connection, [row.stream_id for row in rows])
        return [
            Notification(
                id=row.position,
                originator_id=names.get(row.stream_id) or UUID(row.stream_id),
                originator_version=row.version,
                topic=row.topic,
                state=row.state,
            )
            for row in rows
        ]

    def max_notification_id(self) -> int | None:
        with translated(), self.engine.connect() as connection:
            return read_head(connection).position or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """The notifications above `gt`, and then those to come. It holds a connection outside the pool."""
        return LogSubscription(self, self.engine, gt=gt, topics=topics)
