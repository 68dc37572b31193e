"""Reading along the log: from a position or a time, of one person or kind, and on as it grows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from adapters.log.chain import first_position_at
from adapters.log.read import listen, pages, wait_for_append
from adapters.projections.definitions import load_workspace
from domain.audiences.words import suggestion
from domain.configuration import TOPIC_PREFIX
from domain.identifiers import KINDS, read_identifier
from domain.mendable import Mendable
from domain.records import Row, node_id
from domain.workspace import Workspace
from runtime.bus_contract import ROW_KINDS
from runtime.identity_rules import rules_of

#: Without news the log is looked at again after this long, in seconds.
_IDLE_WAIT = 1.0


class PlaceError(Mendable):
    """What was given for a place in the log, or for a person, is none."""


def place_of(connection: Connection, said: str) -> int:
    """The position that is meant: a number, or the first one recorded at or after an RFC 3339 time.

    Raises `PlaceError`.
    """
    if said.isdecimal():
        return int(said)
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise PlaceError(
            f"'{said}' is neither a position nor a time with its zone; write 1200 or 2026-11-24T09:00:00Z"
        )
    return first_position_at(connection, round(moment.timestamp() * 1_000_000))


def subjects_of(connection: Connection, said: str) -> frozenset[str]:
    """Whose rows are meant by `kind:value`: the person with this identifier, by every identifier known now.

    Raises `PlaceError` where it is none, or is of a kind that there is not and nobody has.
    """
    kind, colon, value = said.partition(":")
    identifier = read_identifier(kind, value) if kind and colon else None
    if identifier is None:
        raise PlaceError(f"'{said}' names nobody; write KIND:VALUE, as user_id:u-17")
    workspace = load_workspace(connection)
    node = node_id(rules_of(workspace).meant(identifier))
    found = connection.execute(
        text(
            "SELECT node::text, profile::text FROM identity"
            " WHERE profile = (SELECT profile FROM identity WHERE node = CAST(:node AS uuid))"
        ),
        {"node": node},
    ).all()
    if not found:
        _require_kind(kind, workspace)
    return frozenset({node}.union(*([one.node, one.profile] for one in found)))


def _require_kind(kind: str, workspace: Workspace | None) -> None:
    known = [*KINDS, *(workspace.identifiers if workspace else ())]
    feed, dot, _ = kind.partition(".")
    if kind in known or (dot and workspace is not None and feed in workspace.feeds):
        return
    raise PlaceError(
        f"'{kind}' is no kind of identifier; {suggestion(kind, known)}there are: {', '.join(known)},"
        " and FEED.TYPE for the ids of a feed's vendor"
    )


def kinds_of(said: Collection[str]) -> frozenset[str]:
    """The kinds of rows that are asked for. Raises `PlaceError` where this release has no such kind."""
    for kind in said:
        if kind not in ROW_KINDS:
            raise PlaceError(
                f"'{kind}' is no kind of row; {suggestion(kind, ROW_KINDS)}there are: {', '.join(ROW_KINDS)}"
            )
    return frozenset(said)


def kind_of(topic: str) -> str:
    """A row's kind, as in its NATS subject: `track`, `audience`, `definition`, …"""
    return "definition" if topic.startswith(TOPIC_PREFIX) else topic.partition(".")[0]


def follow(engine: Engine, after: int, *, endless: bool = True) -> Iterator[Row]:
    """Every row above a position; with `endless`, also those to come, as they are committed."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as ear:
        if endless:
            listen(ear)
        while True:
            for rows in pages(engine, after):
                after = rows[-1].position
                yield from rows
            if not endless:
                return
            wait_for_append(ear, _IDLE_WAIT)


def chosen(
    rows: Iterable[Row], subjects: Collection[str] | None = None, kinds: Collection[str] | None = None
) -> Iterator[Row]:
    """Those of the rows with one of these subjects and of one of these kinds, where these are given."""
    for row in rows:
        if (subjects is None or row.subject in subjects) and (kinds is None or kind_of(row.topic) in kinds):
            yield row
