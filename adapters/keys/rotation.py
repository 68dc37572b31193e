"""Rotating the master key: every data key is wrapped anew, page by page; what they seal stays as it is."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine

from adapters.keys.making import context_of
from adapters.keys.management import KeyManagement
from adapters.log.driver import driver_of

_PAGE: Final = 5_000
_FIRST: Final = "00000000-0000-0000-0000-000000000000"


def rewrap(engine: Engine, keys: KeyManagement) -> int:
    """Wraps what another master key has wrapped by the current one; how many keys that were.

    Each page is a transaction of its own. A key that is destroyed meanwhile stays destroyed.
    """
    count, after = 0, _FIRST
    while True:
        with engine.begin() as connection, driver_of(connection).cursor(binary=True) as cursor:
            rows = cursor.execute(
                "SELECT subject::text, wrapped FROM subject_key WHERE subject > %b::text::uuid"
                " ORDER BY subject LIMIT %b FOR UPDATE",
                (after, _PAGE),
            ).fetchall()
            if not rows:
                return count
            old = [
                (s, wrapped) for s, wrapped in rows if wrapped is not None and not keys.is_current(wrapped)
            ]
            anew = [keys.wrap(context_of(s), keys.unwrap(context_of(s), wrapped)) for s, wrapped in old]
            cursor.execute(
                "UPDATE subject_key k SET wrapped = n.wrapped"
                " FROM unnest(%b::text[]::uuid[], %b::bytea[]) AS n(subject, wrapped) WHERE k.subject = n.subject",
                ([s for s, _ in old], anew),
            )
            count, after = count + len(old), rows[-1][0]
