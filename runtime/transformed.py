"""Outcomes of records of which something else was sent than was requested: both go into the log at once.

What was sent is personal data, and sealed under the person's key. Whoever was erased meanwhile must not get a new
one by it, so that this is looked at under the log's lock, as erasures are.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Engine

from adapters.log.append import append
from adapters.log.read import driver_of
from domain.outbound import TRANSFORMED, TRANSFORMED_VERSION, Outcome, Transformed
from domain.records import Entry

_encode = msgspec.json.Encoder().encode


def append_transformed(engine: Engine, outcomes: Sequence[Outcome], entries: Sequence[Entry]) -> None:
    """Appends the outcomes' `entries`, and before them what was sent of people who are there."""
    told = [one.transformed for one in outcomes if one.transformed is not None]
    with engine.begin() as connection:
        driver_of(connection).execute("SELECT position FROM log_head FOR UPDATE")
        there = _there(connection, told)
        append(connection, [*(_entry(one) for one in told if one.id in there), *entries])


def _entry(told: Transformed) -> Entry:
    return Entry(told.id, TRANSFORMED_VERSION, TRANSFORMED, told.profile, _encode(told))


def _there(connection: Connection, told: Sequence[Transformed]) -> set[str]:
    """The ids of those records whose person was not erased since they were requested."""
    rows = driver_of(connection).execute(
        "SELECT n.id FROM unnest(%s::text[], %s::text[]) AS n (id, profile)"
        " JOIN log_stream s ON s.stream_id = n.id::uuid AND s.version = 1"
        " JOIN subject_key k ON k.subject = n.profile::uuid AND k.wrapped IS NOT NULL"
        " WHERE s.position > coalesce(k.erased_at, 0)",
        ([one.id for one in told], [one.profile for one in told]),
    )
    return {id for (id,) in rows}
