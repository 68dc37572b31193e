"""Who was in an audience at a position, and how its size went: read from the log, where every change is."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Connection

from adapters.log.read import read_head, read_positions, read_topics
from domain.audiences.memberships import TOPICS, Members, Told, follow

PAGE_ROWS = 20_000
_body = msgspec.json.Decoder(dict[str, object]).decode


def members_at(connection: Connection, audience: str, position: int) -> dict[str, tuple[int, int]]:
    """Profile → (position, log time in microseconds) of the entry, of those who were in it at a position."""
    last: Members | None = None
    for last in follow(audience, _told(connection, position)):  # noqa: B007
        pass
    return dict(last.since) if last is not None else {}


def sizes(connection: Connection, audience: str, position: int, step_us: int) -> Iterator[tuple[int, int]]:
    """Log time and size: at the end of each span of `step_us` microseconds in which the size changed, and last at the
    position itself. Nothing of an audience that nobody was ever in."""
    last: tuple[int, int] | None = None
    for members in follow(audience, _told(connection, position)):
        end = (members.recorded_at // step_us + 1) * step_us
        if last is not None and end != last[0]:
            yield last
        last = end, len(members.since)
    if last is None:
        return
    [at] = read_positions(connection, [min(position, read_head(connection).position)])
    now = at.recorded_at
    if last[0] < now:
        yield last
    yield now, last[1]


def _told(connection: Connection, upto: int) -> Iterator[Told]:
    after = 0
    while rows := read_topics(connection, after, PAGE_ROWS, upto, TOPICS):
        for row in rows:
            if row.erased:
                continue
            yield Told(row.position, row.recorded_at, row.topic, _body(row.state))
        after = rows[-1].position
