"""What an application keeps by version beside its events: snapshots. Droppable, so not in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import AggregateRecorder, StoredEvent
from sqlalchemy import Engine, insert, select

from adapters.log.recorders.errors import translated
from adapters.log.recorders.identity import stream_of, version_of
from adapters.log.schema import log_snapshot


class SnapshotRecorder(AggregateRecorder):
    """Stores and reads snapshots, apart for each purpose. Raises `IntegrityError` where one is there."""

    def __init__(self, engine: Engine, purpose: str = "snapshots") -> None:
        self.engine = engine
        self.purpose = purpose

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        rows = [
            {
                "purpose": self.purpose,
                "stream_id": stream_of(event.originator_id),
                "version": version_of(event),
                "topic": event.topic,
                "state": event.state,
            }
            for event in stored_events
        ]
        if rows:
            with translated(), self.engine.begin() as connection:
                connection.execute(insert(log_snapshot), rows)
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
        version = log_snapshot.c.version
        statement = (
            select(version, log_snapshot.c.topic, log_snapshot.c.state)
            .where(log_snapshot.c.purpose == self.purpose)
            .where(log_snapshot.c.stream_id == stream_of(originator_id))
            .order_by(version.desc() if desc else version)
            .limit(limit)
        )
        if gt is not None:
            statement = statement.where(version > gt)
        if lte is not None:
            statement = statement.where(version <= lte)
        with translated(), self.engine.connect() as connection:
            return [StoredEvent(originator_id, *row) for row in connection.execute(statement)]
