"""The log by subject: where a person's rows stand, without reading through all of it.

An index on the log itself would cost every append a place to look up. This one is filled behind the log's end, many
rows at a time, and what it has not come to yet is looked for in the log: an answer is always whole.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection

from adapters.log.archive import archived_at
from adapters.log.driver import driver_of
from adapters.log.read import read_head
from adapters.projections.checkpoint import move_checkpoint, read_checkpoint
from domain.configuration import TOPIC_PREFIX
from domain.mendable import Mendable
from domain.records import derive_id
from domain.runs import RUN
from domain.settling import APPLIED, STREAM
from domain.unmerge import REQUESTED as UNMERGE

CHECKPOINT: Final = "subjects"
#: The subject that the workspace's definitions, where they take effect, and connections' runs are found by.
DEFINITIONS: Final = STREAM
#: The subject that requests to unmerge somebody are found by: they are about two.
UNMERGES: Final = derive_id("subject", "unmerges")
#: The subject that a row of nobody's is found by.
_NOBODYS: Final = (
    "CASE WHEN starts_with(topic, %(prefix)s) OR topic IN (%(applied)s, %(run)s) THEN %(definitions)s::uuid"
    " WHEN topic = %(unmerge)s THEN %(unmerges)s::uuid END"
)
_NAMED: Final = {
    "definitions": DEFINITIONS,
    "prefix": TOPIC_PREFIX,
    "applied": APPLIED,
    "run": RUN,
    "unmerge": UNMERGE,
    "unmerges": UNMERGES,
}
#: Rows of the log in one transaction.
_ROWS: Final = 50_000
_LEAD: Final = 0x7375626A


class IndexBehindError(Mendable):
    """Rows that are in the lake already have not been indexed yet; the message says how far it is."""


def index_subjects(connection: Connection) -> int:
    """Indexes the next rows, within the connection's transaction; how many, 0 where there are none or another process
    is at it."""
    driver = driver_of(connection)
    [led] = driver.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LEAD,)).fetchone() or (False,)
    after = read_checkpoint(connection, CHECKPOINT)
    upto = min(read_head(connection).position, after + _ROWS)
    if not led or upto <= after:
        return 0
    part = archived_at(connection, after + 1)
    if part is None:
        driver.execute(
            "INSERT INTO subject_position SELECT found.subject, position FROM"  # noqa: S608
            f" (SELECT coalesce(subject, {_NOBODYS}) AS subject, position FROM log"
            " WHERE position > %(after)s AND position <= %(upto)s) AS found"
            " WHERE found.subject IS NOT NULL ORDER BY 1, 2 ON CONFLICT DO NOTHING",
            _NAMED | {"after": after, "upto": upto},
        )
    else:
        upto = min(upto, part.last)
        found = [
            (subject, row.position)
            for row in part.rows(after + 1, upto, _ROWS)
            if (subject := row.subject or _nobodys(row.topic)) is not None
        ]
        driver.execute(
            "INSERT INTO subject_position SELECT * FROM unnest(%s::text[]::uuid[], %s::bigint[])"
            " ON CONFLICT DO NOTHING",
            ([subject for subject, _ in found], [position for _, position in found]),
        )
    move_checkpoint(connection, CHECKPOINT, after, upto)
    return upto - after


def positions_of(
    connection: Connection, subjects: Collection[str], *, before: int | None = None, limit: int
) -> list[int]:
    """Where at most `limit` rows of these subjects stand, the newest first, below `before` where that is given.

    Raises `IndexBehindError`.
    """
    indexed = read_checkpoint(connection, CHECKPOINT)
    head = read_head(connection).position
    if indexed < head and archived_at(connection, indexed + 1) is not None:
        raise IndexBehindError(
            f"the log is being indexed by person, and that has come to position {indexed:,} of {head:,};"
            " ask again later"
        )
    rows = driver_of(connection).execute(
        "SELECT position FROM ("  # noqa: S608
        " SELECT position FROM subject_position"
        " WHERE subject = ANY(%(subjects)s::text[]::uuid[]) AND position < %(before)s"
        " UNION ALL"
        " SELECT position FROM log WHERE position > %(indexed)s AND position < %(before)s"
        f" AND coalesce(subject, {_NOBODYS}) = ANY(%(subjects)s::text[]::uuid[])"
        ") AS found ORDER BY position DESC LIMIT %(limit)s",
        _NAMED
        | {
            "subjects": list(subjects),
            "before": head + 1 if before is None else before,
            "indexed": indexed,
            "limit": limit,
        },
    )
    return [position for (position,) in rows]


def first_unindexed(connection: Connection, after: int, upto: int) -> int | None:
    """The first position above `after`, and not above `upto`, whose row is in the database and cannot be found by its
    subject; `None` where there is none."""
    row = (
        driver_of(connection)
        .execute(
            "SELECT min(position) FROM"  # noqa: S608
            f" (SELECT coalesce(subject, {_NOBODYS}) AS subject, position FROM log"
            " WHERE position > %(after)s AND position <= %(upto)s) AS found WHERE subject IS NOT NULL AND NOT EXISTS"
            " (SELECT FROM subject_position s WHERE s.subject = found.subject AND s.position = found.position)",
            _NAMED | {"after": after, "upto": upto},
        )
        .fetchone()
    )
    return None if row is None else row[0]


def _nobodys(topic: str) -> str | None:
    if topic.startswith(TOPIC_PREFIX) or topic in (APPLIED, RUN):
        return DEFINITIONS
    return UNMERGES if topic == UNMERGE else None
