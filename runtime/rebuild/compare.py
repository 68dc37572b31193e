"""Comparing what was rebuilt with what is live: the tables by their digests, derived records one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from adapters.log.read import driver_of
from adapters.projections.digest import Difference, Digest, differences, digest
from runtime.rebuild.chase import logged_after
from runtime.rebuild.work import SCHEMA, write_followed

LIVE: Final = "public"
#: So many rows of a table that differ are looked at for which parted first.
LOOKED_AT: Final = 50


class Comparison(NamedTuple):
    """One projection, live and rebuilt, and some of the rows in which they part."""

    projection: str
    live: Digest
    rebuilt: Digest
    differences: Sequence[Difference]

    @property
    def equal(self) -> bool:
        return self.live == self.rebuilt


class Followed(NamedTuple):
    """Derived records: how many differ, and the first of them."""

    differing: int
    topic: str
    profile: str
    position: int
    logged: bool

    def __str__(self) -> str:
        where = f"{self.topic} of profile {self.profile}"
        if self.logged:
            return f"{where}: the log has it at position {self.position}, and it does not follow from the log"
        return (
            f"{where}: it follows from the record at position {self.position}, and the log does not have it"
        )


def compare_tables(connection: Connection, projections: Sequence[str]) -> list[Comparison]:
    """Compares projections within one snapshot."""
    found = []
    for name in projections:
        live, rebuilt = digest(connection, LIVE, name), digest(connection, SCHEMA, name)
        parted = [] if live == rebuilt else differences(connection, LIVE, SCHEMA, name, LOOKED_AT)
        found.append(Comparison(name, live, rebuilt, parted))
    return found


def compare_followed(connection: Connection, goal: int) -> Followed | None:
    """The first derived record that only one side has, `None` where there is none.

    Up to the goal the shards have compared; what they left is compared here, with what the log has since.
    """
    for logged in logged_after(connection, goal):
        write_followed(connection, logged)
    query = (
        "SELECT min(position) AS position, topic, profile::text, bool_or(logged), count(*) OVER ()"  # noqa: S608
        f" FROM {SCHEMA}.followed GROUP BY id, digest, topic, profile"
        " HAVING count(*) FILTER (WHERE logged) <> count(*) FILTER (WHERE NOT logged)"
        " ORDER BY position, topic LIMIT 1"
    )
    rows = driver_of(connection).execute(query).fetchall()
    for position, topic, profile, logged, differing in rows:
        return Followed(differing, topic, profile, position, logged)
    return None
