"""Destroying data keys: what was sealed under them can be read by nobody any more.

The wrapped key is overwritten in the table. What PostgreSQL keeps of it for a while (the row's former version, the
write-ahead log, backups) is of no use without the master key, so rotating that one ends those too
(docs/how-to/erase-a-person.md).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import psycopg


def destroy_keys(
    cursor: psycopg.Cursor[Any],
    subjects: Collection[str],
    *,
    erased_at: int | None = None,
    gone_before: int | None = None,
) -> int:
    """Destroys the keys of these subjects, within the transaction, and tells every process by the log's head;
    how many keys there were.

    With `erased_at`, rows up to that position are erased from now on. With `gone_before`, a replay takes the
    subjects' identifiers for gone at positions below it; both for subjects that never had a key, too.
    """
    cursor.execute("UPDATE log_head SET erasures = erasures + 1")
    cursor.execute(
        "SELECT count(*) FROM subject_key WHERE subject = ANY(%b::text[]::uuid[]) AND wrapped IS NOT NULL",
        (list(subjects),),
    )
    [count] = cursor.fetchone() or [0]
    if erased_at is None:
        cursor.execute("DELETE FROM subject_key WHERE subject = ANY(%b::text[]::uuid[])", (list(subjects),))
        return int(count)
    cursor.execute(
        "INSERT INTO subject_key AS held (subject, erased_at, gone_before)"
        " SELECT subject, %b, %b FROM unnest(%b::text[]::uuid[]) AS subject"
        " ON CONFLICT (subject) DO UPDATE SET wrapped = NULL, erased_at = excluded.erased_at,"
        " gone_before = coalesce(excluded.gone_before, held.gone_before)",
        (erased_at, gone_before, list(subjects)),
    )
    return int(count)
