"""Who was in an audience at any position: a fold of what the log says of memberships.

A merge moves a membership from the profile that is gone to the one that is kept; whoever of the two entered first
counts. Decoded bodies of the topics in `TOPICS` are all that is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

#: The topics that tell of memberships.
TOPICS: Final = ("audience.entered", "audience.exited", "profile.merged")


class Told(NamedTuple):
    """One of those rows: its position, its log time in microseconds, its topic and its decoded body."""

    position: int
    recorded_at: int
    topic: str
    body: Mapping[str, Any]


class Members(NamedTuple):
    """The members of an audience after a row: profile → (position, log time in µs) of the entry."""

    position: int
    recorded_at: int
    since: dict[str, tuple[int, int]]


def follow(audience: str, rows: Iterable[Told]) -> Iterator[Members]:
    """The audience's members after each row that changes them. The same dictionary is given each time."""
    since: dict[str, tuple[int, int]] = {}
    for row in rows:
        if _apply(audience, row, since):
            yield Members(row.position, row.recorded_at, since)


def _apply(audience: str, row: Told, since: dict[str, tuple[int, int]]) -> bool:
    body = row.body
    if row.topic == "profile.merged":
        gone = since.pop(body["merged"], None)
        if gone is None:
            return False
        since[body["profile"]] = min(gone, since.get(body["profile"], gone))
        return True
    if body["audience"] != audience:
        return False
    if row.topic == "audience.entered":
        since[body["profile"]] = (body["cause"], body["at"])
        return True
    return since.pop(body["profile"], None) is not None
