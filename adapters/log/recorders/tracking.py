"""How far an application has come in what it follows, recorded with what it made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import IntegrityError, ProcessRecorder, StoredEvent, Tracking, TrackingRecorder
from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from adapters.log.recorders.errors import translated
from adapters.log.recorders.events import LogApplicationRecorder, LogRecorder
from adapters.log.schema import log_tracking


class LogTrackingRecorder(LogRecorder, TrackingRecorder):
    """Records positions that only go forward. Raises `IntegrityError` where one does not.

    A subclass that keeps a view of its own calls `_insert_tracking` in the view's transaction.
    """

    def insert_tracking(self, tracking: Tracking) -> None:
        with translated(), self.engine.begin() as connection:
            self._insert_tracking(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        statement = select(log_tracking.c.notification_id).where(
            log_tracking.c.application_name == application_name
        )
        with translated(), self.engine.connect() as connection:
            return connection.execute(statement).scalar_one_or_none()

    def _insert_tracking(self, connection: Connection, tracking: Tracking) -> None:
        name, position = tracking.application_name, tracking.notification_id
        statement = insert(log_tracking).values(application_name=name, notification_id=position)
        forward = statement.on_conflict_do_update(
            index_elements=[log_tracking.c.application_name],
            set_={"notification_id": statement.excluded.notification_id},
            where=log_tracking.c.notification_id < statement.excluded.notification_id,
        )
        if connection.execute(forward.returning(log_tracking.c.notification_id)).first() is None:
            raise IntegrityError(
                f"notification {position} of '{name}' or a later one has been tracked already"
            )


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """Records events and, given as `tracking`, what they were made of, in one transaction."""

    def _insert_events(
        self,
        connection: Connection,
        stored_events: Sequence[StoredEvent],
        *,
        tracking: Tracking | None = None,
        **kwargs: Any,
    ) -> list[int]:
        if tracking is not None:
            self._insert_tracking(connection, tracking)
        return super()._insert_events(connection, stored_events, **kwargs)
