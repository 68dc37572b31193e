"""How an application's ids become streams: a UUID is the stream, a text has one derived from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from eventsourcing.persistence import DataError, StoredEvent
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from adapters.log.driver import driver_of
from adapters.log.schema import log_name
from domain.records import derive_id

#: The log's versions are PostgreSQL integers.
_VERSION_LIMIT: Final = 2**31


def stream_of(originator_id: UUID | str) -> UUID:
    """The stream of an aggregate. A text is never taken for a UUID, not even where it looks like one."""
    return originator_id if isinstance(originator_id, UUID) else UUID(derive_id("stream", originator_id))


def version_of(event: StoredEvent) -> int:
    """The event's version. Raises `DataError` where the log cannot hold it."""
    if 0 <= event.originator_version < _VERSION_LIMIT:
        return event.originator_version
    raise DataError(
        f"version {event.originator_version} of {event.originator_id} is not within 0 and"
        f" {_VERSION_LIMIT - 1}; number an aggregate's events from 0 or 1"
    )


def keep_names(connection: Connection, events: Iterable[StoredEvent]) -> None:
    """Remembers the ids that are texts, so that reading in order of position can give them back."""
    # In one order, so that two transactions never wait for each other.
    names = sorted({event.originator_id for event in events if isinstance(event.originator_id, str)})
    if names:
        rows = [{"stream_id": stream_of(name), "name": name} for name in names]
        connection.execute(insert(log_name).on_conflict_do_nothing(), rows)


def names_of(connection: Connection, streams: Iterable[str]) -> dict[str, str]:
    """The texts that these streams were derived from, by stream; a stream that is an id itself has none."""
    asked = list(set(streams))
    if not asked:
        return {}
    with driver_of(connection).cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT stream_id::text, name FROM log_name WHERE stream_id = ANY(%b::text[]::uuid[])", (asked,)
        )
        return dict(cursor.fetchall())
